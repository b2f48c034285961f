"""Files that are read while they are written: a log is there from its first line on, and becomes a file like others."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.diagnosis.embedded import examine_folder
from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.workspace.opening import create_workspace

RUN = "1/" + "ab" * 16 + "/artifacts"
LOG = "user_logs/std_log.txt"


@pytest.fixture
def workspace_folder(tmp_path: Path) -> Path:
    create_workspace(tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture
def files(workspace_folder: Path) -> Iterator[SqlFiles]:
    database = Database(workspace_folder)
    yield SqlFiles(database)
    database.close()


def read(files: SqlFiles) -> bytes:
    with files.open(RUN, LOG) as source:
        return source.read()


def contents(folder: Path) -> list[Path]:
    return [path for path in (folder / "files").rglob("*") if path.is_file()]


def test_what_is_shown_is_read_while_the_rest_is_written(files: SqlFiles) -> None:
    growing = files.grow(RUN, LOG)
    assert read(files) == b""
    growing.write(b"first\n")
    assert read(files) == b""  # not shown yet
    assert growing.show() == 6
    reader = files.open(RUN, LOG)
    growing.write(b"second\n")
    growing.show()
    assert reader.read() == b"first\n"  # as much as there was when it was opened
    assert read(files) == b"first\nsecond\n"
    with files.open(RUN, LOG) as source:
        source.seek(-7, io.SEEK_END)
        assert source.read() == b"second\n"
    [listed] = files.list_all(RUN)
    assert (listed.size_bytes, listed.is_growing) == (13, True)


def test_what_ended_is_a_file_like_others(files: SqlFiles, workspace_folder: Path) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"all of it")
    ended = growing.end()
    assert ended is not None
    assert (ended.size_bytes, ended.sha256, ended.is_growing) == (9, hashlib.sha256(b"all of it").hexdigest(), False)
    assert files.find(RUN, LOG) == ended
    assert read(files) == b"all of it"
    assert [path.name for path in contents(workspace_folder)] == [ended.sha256]


def test_a_process_writes_into_it_without_its_writer(files: SqlFiles) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"before\n")
    subprocess.run([sys.executable, "-c", "print('from a process')"], stdout=growing.fileno(), check=True)
    growing.write(b"after\n")
    growing.show()
    assert read(files) == b"before\nfrom a process\nafter\n"


def test_who_writes_after_its_end_changes_nothing(files: SqlFiles, workspace_folder: Path) -> None:
    """A script's own children may outlive it, and have its log open."""
    growing = files.grow(RUN, LOG)
    growing.write(b"kept")
    left_open = os.dup(growing.fileno())
    ended = growing.end()
    os.write(left_open, b" and more")
    os.close(left_open)
    assert ended is not None
    assert read(files) == b"kept"
    assert [path.name for path in contents(workspace_folder)] == [ended.sha256]
    growing_again = files.grow(RUN, "other.txt")
    growing_again.write(b"kept")
    growing_again.end()
    assert [path.name for path in contents(workspace_folder)] == [ended.sha256]


def test_it_replaces_what_was_there_and_what_replaces_it_stays(files: SqlFiles, workspace_folder: Path) -> None:
    files.write(RUN, LOG, io.BytesIO(b"older"))
    growing = files.grow(RUN, LOG)
    growing.write(b"grown")
    growing.show()
    files.write(RUN, LOG, io.BytesIO(b"newer"))
    growing.write(b" on")
    growing.show()
    assert growing.end() is None
    assert read(files) == b"newer"
    assert len(contents(workspace_folder)) == 1


def test_a_deleted_one_leaves_nothing(files: SqlFiles, workspace_folder: Path) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"grown")
    files.delete(RUN)
    growing.show()
    assert growing.end() is None
    assert files.list_all(RUN) == []
    assert contents(workspace_folder) == []


def test_what_a_killed_writer_left_is_read_and_ended_by_another(files: SqlFiles, workspace_folder: Path) -> None:
    writer = (
        "import sys, os, signal; from pathlib import Path\n"
        "from mlflow_amlstore.records.database import Database\n"
        "from mlflow_amlstore.records.sql.files import SqlFiles\n"
        f"growing = SqlFiles(Database(Path(sys.argv[1]))).grow({RUN!r}, {LOG!r})\n"
        "growing.write(b'shown'); growing.show(); growing.write(b', not shown')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", writer, str(workspace_folder)], check=False)
    assert read(files) == b"shown"
    assert files.sweep() == 0  # it has a name
    ended = files.end_growing(RUN, LOG)
    assert ended is not None
    assert read(files) == b"shown, not shown"
    assert files.end_growing(RUN, LOG) is None  # it has ended


def test_one_that_grows_gets_no_second_name(files: SqlFiles) -> None:
    files.grow(RUN, LOG)
    with pytest.raises(InvalidState, match="still written to"):
        files.name_again("uploads/1/artifacts", [("copy", RUN, LOG)])


def test_doctor_finds_nothing_wrong_with_one_that_grows(files: SqlFiles, workspace_folder: Path) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"more than is shown")
    findings = {finding.check: finding for finding in examine_folder(workspace_folder, deep=True)}
    assert findings["files"].is_ok, findings["files"]
