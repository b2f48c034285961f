"""Which process set a run going, and what becomes of the runs of one that is gone, in any record store."""

import io
from typing import TYPE_CHECKING

import pytest

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.process_lock import FOLDER_NAME
from mlflow_amlstore.records.sql.run_processes import GoingScript
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import (
    MACHINE_PROPERTY,
    PROCESS_ENDED,
    RUNS_FOLDER_PROPERTY,
    RunError,
    RunStatus,
)

if TYPE_CHECKING:
    from tests.records.contract.conftest import Clock

WHY = RunError(PROCESS_ENDED, "why")


@pytest.fixture
def lock_name(records: RecordStore) -> str:
    """The name of this process's lock, which has a run."""
    records.runs.create("0", run_id="going", start_ms=5, in_this_process=True)
    (lock,) = (records.folder / FOLDER_NAME).iterdir()
    return lock.name


def test_runs_that_a_process_left_fail_once(records: RecordStore, lock_name: str) -> None:
    records.runs.create("0", run_id="ended", in_this_process=True)
    records.runs.update("ended", status=RunStatus.COMPLETED, end_ms=7)
    records.runs.create("0", run_id="elsewhere")
    assert records.run_processes.fail("another", WHY) == []
    assert records.run_processes.fail(lock_name, WHY) == ["going"]
    assert records.run_processes.fail(lock_name, WHY) == []
    statuses = {record.info.run_id: record.info.status for record in records.runs.search(["0"]).items}
    assert statuses == {"going": RunStatus.FAILED, "ended": RunStatus.COMPLETED, "elsewhere": RunStatus.RUNNING}
    assert records.runs.get("going").info.error == WHY


def test_a_runs_end_is_the_last_that_is_known_of_it(records: RecordStore, lock_name: str, clock: "Clock") -> None:
    for run_id in ("point", "file", "future"):
        records.runs.create("0", run_id=run_id, start_ms=5, in_this_process=True)
    records.runs.log("point", points=[("loss", 0.5, 0, 70)])
    records.files.write(run_container("0", "file"), "model.pkl", io.BytesIO(b"model"))
    written_ms = clock()
    records.runs.log("future", points=[("loss", 0.5, 0, clock() + 10**9)])
    now_ms = clock.advance(1000)
    records.run_processes.fail(lock_name, WHY)
    ends = {run_id: records.runs.get(run_id).info.end_ms for run_id in ("going", "point", "file", "future")}
    assert ends == {"going": 5, "point": 70, "file": written_ms, "future": now_ms}


def test_what_a_process_leaves_for_others_stays_as_it_is(records: RecordStore, lock_name: str) -> None:
    assert records.run_processes.is_known(lock_name)
    records.run_processes.forget(lock_name)
    assert not records.run_processes.is_known(lock_name)
    assert records.run_processes.fail(lock_name, WHY) == []
    assert records.runs.get("going").info.status is RunStatus.RUNNING


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED])
def test_a_run_that_ends_is_no_processs_any_more(records: RecordStore, lock_name: str, status: RunStatus) -> None:
    records.runs.update("going", status=status)
    assert not records.run_processes.is_known(lock_name)


def test_submitted_runs_that_go_on_are_listed(records: RecordStore) -> None:
    both = {MACHINE_PROPERTY: "here", RUNS_FOLDER_PROPERTY: "1:2"}
    for run_id, properties in (("one", both), ("other", {MACHINE_PROPERTY: "there"}), ("ended", both), ("again", both)):
        records.runs.create("0", run_id=run_id, status=RunStatus.QUEUED, properties=properties)
    records.runs.create("0", run_id="not-submitted")
    for run_id in ("ended", "again"):
        records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=5)
    records.runs.update("again", status=RunStatus.RUNNING)
    expected = [GoingScript("one", "here", "1:2"), GoingScript("other", "there", None)]
    assert sorted(records.run_processes.going_scripts()) == expected
    assert records.run_processes.fail_script("one", WHY)
    assert not records.run_processes.fail_script("one", WHY)
    assert not records.run_processes.fail_script("ended", WHY)
