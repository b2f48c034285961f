"""Noticing what any process writes into a workspace."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.errors import WorkspaceNotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.watch import Watch

WRITE = """
import sys
from pathlib import Path
from mlflow_amlstore.records.folder import open_records
open_records(Path(sys.argv[1])).experiments.create("of another process")
"""


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordStore]:
    database = Database(tmp_path / "workspace")
    create_database(database)
    records = RecordStore(database)
    yield records
    records.close()


@pytest.fixture
def watch(records: RecordStore) -> Iterator[Watch]:
    watch = records.watch()
    yield watch
    watch.close()


def test_what_another_process_commits_is_noticed(records: RecordStore, watch: Watch, tmp_path: Path) -> None:
    before = watch.version()
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "workspace")], check=True)
    after = watch.version()
    assert after != before
    assert watch.version() == after


def test_nothing_is_noticed_of_what_was_read_or_undone(records: RecordStore, watch: Watch) -> None:
    before = watch.version()
    records.experiments.search()
    with pytest.raises(ZeroDivisionError), records.transaction():
        records.experiments.create("never there")
        raise ZeroDivisionError
    assert watch.version() == before


def test_two_watches_notice_the_same(records: RecordStore, watch: Watch) -> None:
    other = records.watch()
    before = watch.version(), other.version()
    records.experiments.create("new")
    assert watch.version() != before[0]
    assert other.version() != before[1]
    other.close()


def test_a_workspace_put_in_the_place_of_another_is_noticed(watch: Watch, records: RecordStore, tmp_path: Path) -> None:
    before = watch.version()
    records.close()
    (tmp_path / "workspace").rename(tmp_path / "elsewhere")
    with pytest.raises(WorkspaceNotFound):
        watch.version()
    another = Database(tmp_path / "workspace")
    create_database(another)
    another.close()
    assert watch.version() != before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_parent_and_child_both_go_on_watching_after_a_fork(records: RecordStore, watch: Watch) -> None:
    watch.version()
    child = os.fork()
    if child == 0:
        before = watch.version()
        records.experiments.create("of the child")
        os._exit(0 if watch.version() != before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    before = watch.version()
    records.experiments.create("of the parent")
    assert watch.version() != before
