"""A script's processes end with all that they started, however these try to stay."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.runner.launch import COOKIE
from mlflow_amlstore.runner.processes import end, of_folder

RUNNER = """
import os, sys, time
from pathlib import Path
from mlflow_amlstore.runner import processes
processes.adopt_orphans()
children = processes.Children()
children.start([sys.executable, "-c", sys.argv[1]], cwd=Path.cwd(), environment=dict(os.environ), output=1)
while not Path("ready").exists():
    time.sleep(0.01)
children.reap()
processes.end(children.running, grace_s=float(sys.argv[2]), meanwhile=children.reap)
print("left:", children.running())
"""
STUBBORN = """
import os, signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
Path("pids").open("a").write(f"{os.getpid()}\\n")
Path("ready").touch()
time.sleep(600)
"""
DAEMON = """
import os, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        Path("pids").open("a").write(f"{os.getpid()}\\n")
        Path("ready").touch()
        time.sleep(600)
    os._exit(0)
os.wait()
"""
POLITE = """
import os, signal, sys, time
from pathlib import Path
def ended(*_):
    Path("was told").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, ended)
Path("pids").open("a").write(f"{os.getpid()}\\n")
Path("ready").touch()
time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in (tmp_path / "pids").read_text().split():
        assert not runs(int(pid))


def run(folder: Path, script: str, grace_s: float) -> str:
    return subprocess.run(
        [sys.executable, "-c", RUNNER, script, str(grace_s)], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="a daemon is found on Linux alone")
@pytest.mark.parametrize("script", [STUBBORN, DAEMON], ids=["ignores SIGTERM, with a child", "a daemon"])
def test_all_of_a_script_is_ended(folder: Path, script: str) -> None:
    assert run(folder, script, 0.2) == "left: []\n"


def test_a_script_is_told_before_it_is_killed(folder: Path) -> None:
    assert run(folder, POLITE, 60) == "left: []\n"
    assert (folder / "was told").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a process's variables are read on Linux alone")
def test_processes_of_a_killed_runner_are_known_by_what_they_inherited(folder: Path) -> None:
    environment = {**os.environ, COOKIE: str(folder)}
    subprocess.run([sys.executable, "-c", DAEMON], cwd=folder, env=environment, check=True)
    while not (folder / "ready").exists():
        time.sleep(0.01)
    found = of_folder(folder)
    assert [str(pid) for pid in found] == (folder / "pids").read_text().split()
    assert of_folder(folder / "other") == []
    end(lambda: of_folder(folder), grace_s=60)
