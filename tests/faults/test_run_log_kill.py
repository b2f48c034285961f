"""`kill -9` while `Run.log` is under way, of the script and of the service: what was flushed is there, once."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkedProcess
from forked_service import ForkedService

from mlflow_amlstore.core import Experiment, Run, Workspace

OPEN = """
import sys, threading
from mlflow_amlstore.core import Run, Workspace
run = Run.get(Workspace.from_url(sys.argv[1]) if "://" in sys.argv[1] else Workspace.create(sys.argv[1]), sys.argv[2])
"""
LOG_AND_FLUSH = """
for n in range(10**9):
    run.log("m", n)
    run.log_row("row", n=n, half=n / 2)
    if n % 500 == 499:
        run.flush()
        print(n + 1, flush=True)
"""
LOG_SLOWLY = """
import time
for n in range(3000):
    run.log("m", n)
    run.log("other", n / 2)
    time.sleep(0.002)
run.complete()
"""
LOG_BY_THREADS = """
def log(thread):
    for n in range(2000):
        run.log("m", f"{sys.argv[3]}.{thread}.{n}")
threads = [threading.Thread(target=log, args=[thread]) for thread in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkedService]:
    with ForkedService(tmp_path / "service") as running:
        monkeypatch.setenv("AMLSTORE_KEY", running.key)
        yield running


@pytest.fixture(params=["embedded", "served"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What a script opens: a folder, or the address of a service."""
    if request.param == "embedded":
        return str(tmp_path / "workspace")
    service: ForkedService = request.getfixturevalue("service")
    return service.url


@pytest.fixture
def run(place: str) -> Run:
    workspace = Workspace.from_url(place) if "://" in place else Workspace.create(place)
    return Experiment(workspace, "e").start_logging(snapshot_directory=None)


def start(code: str, place: str, run: Run, *arguments: str) -> ForkedProcess:
    return ForkedProcess(["-c", OPEN + code, place, run.id, *arguments], stdout=subprocess.PIPE)


def test_what_a_killed_script_flushed_is_there_once_and_in_order(place: str, run: Run) -> None:
    kept = rows_kept = 0
    for _ in range(3):
        script = start(LOG_AND_FLUSH, place, run)
        assert script.stdout is not None
        flushed = [int(script.stdout.readline()) for _ in range(4)][-1]
        time.sleep(0.02)
        os.kill(script.pid, signal.SIGKILL)
        flushed = max([flushed, *map(int, script.stdout.read().split())])
        script.wait()
        metrics = Run.get(run.experiment.workspace, run.id).get_metrics()
        found = metrics["m"][kept:]
        assert found == list(range(len(found)))
        assert len(found) >= flushed
        rows = metrics["row"]["n"]
        assert metrics["row"]["half"] == [n / 2 for n in rows]
        assert rows[rows_kept:] == list(range(len(rows) - rows_kept))
        rows_kept = len(rows)
        kept = len(metrics["m"])


def test_a_service_that_is_killed_while_a_script_logs_has_each_value_once(service: ForkedService) -> None:
    run = Experiment(Workspace.from_url(service.url), "e").start_logging(snapshot_directory=None)
    script = start(LOG_SLOWLY, service.url, run)
    for _ in range(3):
        time.sleep(1.0)
        service.kill()
        service.start()
    assert script.wait() == 0
    metrics = Run.get(Workspace.from_url(service.url), run.id).get_metrics()
    assert metrics["m"] == list(range(3000))
    assert metrics["other"] == [n / 2 for n in range(3000)]


def test_two_threads_of_four_processes_keep_every_value_each_in_its_order(place: str, run: Run) -> None:
    processes = [start(LOG_BY_THREADS, place, run, str(number)) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    found = [value.split(".") for value in run.get_metrics()["m"]]
    assert len(found) == 4 * 2 * 2000
    for process in "0123":
        for thread in "01":
            assert [int(n) for p, t, n in found if (p, t) == (process, thread)] == list(range(2000))
