"""A log is there for its readers at every moment of its end, and after a kill at any."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.workspace.opening import create_workspace

RUN = "1/" + "ab" * 16 + "/artifacts"
LOG = "user_logs/std_log.txt"
KILLED_WHERE_ITS_CONTENT_IS_NAMED = f"""
import os, signal, sys
from pathlib import Path
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.sql.files import SqlFiles

def look(frame, event, called):
    if event == "c_return" and called is os.replace:
        os.kill(os.getpid(), signal.SIGKILL)

files = SqlFiles(Database(Path(sys.argv[1])))
sys.setprofile(look)
files.end_growing({RUN!r}, {LOG!r})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_workspace(tmp_path / "ws")
    return tmp_path / "ws"


@pytest.fixture
def files(folder: Path) -> Iterator[SqlFiles]:
    database = Database(folder)
    yield SqlFiles(database)
    database.close()


def read(files: SqlFiles) -> bytes:
    with files.open(RUN, LOG) as source:
        return source.read()


def contents(folder: Path) -> list[str]:
    return [path.name for path in (folder / "files").rglob("*") if path.is_file()]


def test_who_reads_before_the_commit_finds_it(files: SqlFiles, folder: Path) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"all of it")
    growing.show()
    others = Database(folder)
    found: list[bytes] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and called is os.replace:  # its content has its place, and nothing is committed
            found.append(read(SqlFiles(others)))

    sys.setprofile(look)
    try:
        ended = growing.end()
    finally:
        sys.setprofile(None)
    others.close()
    assert found == [b"all of it"]
    assert ended is not None
    assert contents(folder) == [ended.sha256]


def test_a_kill_before_the_commit_costs_nothing(files: SqlFiles, folder: Path) -> None:
    growing = files.grow(RUN, LOG)
    growing.write(b"all of it")
    growing.show()
    growing.close()
    killed = subprocess.run([sys.executable, "-c", KILLED_WHERE_ITS_CONTENT_IS_NAMED, folder], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read(files) == b"all of it"
    files.sweep()
    assert read(files) == b"all of it"
    ended = files.end_growing(RUN, LOG)
    assert ended is not None
    assert read(files) == b"all of it"
    assert contents(folder) == [ended.sha256]
