"""Transactions, connections, and SQLite's errors as ours."""

import gc
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from mlflow_amlstore.errors import InvalidState, InvalidValue, StorageFailed, WorkspaceBusy, WorkspaceNotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.schema import create_database

INSERT = text("INSERT INTO experiments (name, created_ms, updated_ms) VALUES (:name, 0, 0)")
NAMES = text("SELECT name FROM experiments ORDER BY experiment_id")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "a folder #1 100%", lock_timeout_s=0.1)
    create_database(database)
    yield database
    database.close()


def _names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(NAMES).scalars())


def test_a_write_is_committed_when_its_block_ends(database: Database) -> None:
    with database.write() as connection:
        connection.execute(INSERT, {"name": "new"})

    assert _names(Database(database.folder)) == ["Default", "new"]


def test_a_write_is_rolled_back_when_its_block_raises(database: Database) -> None:
    def write_and_raise() -> None:
        with database.write() as connection:
            connection.execute(INSERT, {"name": "new"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_raise()

    assert _names(database) == ["Default"]
    with database.write() as connection:
        connection.execute(INSERT, {"name": "next"})
    assert _names(database) == ["Default", "next"]


def test_a_reader_keeps_the_state_it_began_with(database: Database) -> None:
    with database.read() as reader:
        before = list(reader.execute(NAMES).scalars())
        with database.write() as writer:
            writer.execute(INSERT, {"name": "new"})
        assert list(reader.execute(NAMES).scalars()) == before == ["Default"]

    assert _names(database) == ["Default", "new"]


def test_a_write_inside_a_write_is_part_of_it_and_rolled_back_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(INSERT, {"name": "first"})
        with pytest.raises(ZeroDivisionError), database.write() as part:
            part.execute(INSERT, {"name": "undone"})
            raise ZeroDivisionError
        with database.write() as part:
            part.execute(INSERT, {"name": "second"})

    assert _names(database) == ["Default", "first", "second"]


def test_what_a_part_wrote_goes_with_the_whole(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write():
        with database.write() as part:
            part.execute(INSERT, {"name": "undone"})
        raise ZeroDivisionError

    assert _names(database) == ["Default"]


def test_a_transaction_that_sqlite_gave_up_is_not_reported_as_written(database: Database) -> None:
    with pytest.raises(StorageFailed, match="the transaction was given up"), database.write() as connection:
        connection.execute(INSERT, {"name": "lost"})
        driver_connection(connection).rollback()  # as SQLite does on a full disk

    with pytest.raises(StorageFailed, match="the transaction was given up"), database.write() as connection:
        driver_connection(connection).rollback()
        with database.write() as part:
            part.execute(INSERT, {"name": "must not be written outside the transaction"})

    assert _names(database) == ["Default"]


def test_a_write_that_need_not_wait_is_refused_at_once_while_another_process_writes(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WorkspaceBusy), database.write(wait=False):
            pass
        other.execute("ROLLBACK")

    with database.write(wait=False) as connection:
        connection.execute(INSERT, {"name": "new"})
    assert _names(database) == ["Default", "new"]


def test_files_are_not_changed_inside_a_transaction_that_may_yet_fail(database: Database) -> None:
    with (
        pytest.raises(InvalidState, match="Files can't be changed inside a transaction"),
        database.write(),
        database.write_alone(),
    ):
        pass


def test_a_lock_that_isnt_released_in_time_is_reported_with_the_time_waited(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(WorkspaceBusy) as busy, database.write():
            pass
        assert _names(database) == ["Default"]  # readers don't wait

    assert busy.value.mlflow_code == "TEMPORARILY_UNAVAILABLE"
    assert str(busy.value).startswith(
        f"Another process has held the write lock of workspace {database.folder} for 0 s; this call was not recorded."
    )
    with database.write() as connection:
        connection.execute(INSERT, {"name": "after"})


def test_a_folder_without_a_database_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound), Database(tmp_path).read():
        pass
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_unicode_is_refused(database: Database) -> None:
    with pytest.raises(InvalidValue, match=r"Invalid value '\\ud800' for text: must be valid Unicode"):
        _insert(database, "\ud800")
    assert _names(database) == ["Default"]


def test_a_closed_database_opens_again(database: Database) -> None:
    database.close()
    database.close()

    assert _names(database) == ["Default"]


def test_closing_leaves_one_file(database: Database) -> None:
    with database.write() as connection:
        connection.execute(INSERT, {"name": "new"})

    database.close()

    assert [path.name for path in database.folder.iterdir()] == ["records.db"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def _fork(act: Callable[[], object]) -> int:
    """Act in a forked child; return its exit status. One that hangs is ended."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(30)
            act()
            gc.collect()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _insert(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(INSERT, {"name": name})


@needs_fork
def test_a_child_forked_while_another_thread_writes_waits_for_it_and_writes_too(database: Database) -> None:
    is_writing, may_end = threading.Event(), threading.Event()

    def write_long() -> None:
        with database.write() as connection:
            connection.execute(INSERT, {"name": "of the parent"})
            is_writing.set()
            may_end.wait()

    writer = threading.Thread(target=write_long)
    writer.start()
    is_writing.wait()
    threading.Timer(0.2, may_end.set).start()  # the fork waits for the transaction to end

    status = _fork(lambda: _insert(database, "of the child"))

    writer.join()
    assert status == 0
    assert _names(database) == ["Default", "of the parent", "of the child"]


@needs_fork
def test_what_a_child_writes_after_the_parent_closed_is_kept(database: Database) -> None:
    """SQLite deletes the write-ahead log when the last connection closes; a child's must count as one."""
    _names(database)
    ready, go = os.pipe(), os.pipe()

    child = os.fork()
    if child == 0:
        try:
            _insert(database, "first")
            os.write(ready[1], b".")
            os.read(go[0], 1)
            _insert(database, "second")
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.read(ready[0], 1)
    _names(database)
    database.close()
    os.write(go[1], b".")

    assert os.waitpid(child, 0)[1] == 0
    assert _names(Database(database.folder)) == ["Default", "first", "second"]


@needs_fork
def test_a_fork_inside_a_transaction_leaves_the_transaction_to_the_parent(database: Database) -> None:
    with database.write() as connection:
        connection.execute(INSERT, {"name": "new"})
        assert _fork(lambda: None) == 0

    assert _names(database) == ["Default", "new"]
