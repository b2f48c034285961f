"""Values wait in memory for at most 0.2 s, and however the process ends but by `kill -9` they are written."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.core.buffered_log import CAPACITY
from mlflow_amlstore.errors import (
    AmlStoreError,
    Deleted,
    DiskFull,
    InvalidValue,
    PartlyRefused,
    ServiceError,
    ServiceUnreachable,
)
from mlflow_amlstore.records.types import LoggedTuple, MetricKind

BEGIN = """
import os, signal, sys, threading, time
from mlflow_amlstore.core import Experiment, Run, Workspace
ws = Workspace.create(sys.argv[1])
run = Run.get(ws, sys.argv[2])
for n in range(1000):
    run.log("m", n)
"""

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(ws: Workspace, run: Run) -> Script:
    """Runs a script that logged 1000 values into the run, in a process of its own, to its end."""

    def run_script(rest: str = "", **more: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", BEGIN + rest, str(ws.path), run.id]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run_script


@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("", 0),
        ("run.flush(); os._exit(0)", 0),
        ("run.complete(); os._exit(0)", 0),
        ("with run: pass\nos._exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", 143),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", -signal.SIGINT),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); os.kill(os.getpid(), signal.SIGTERM)", 5),
        ("threading.Thread(target=lambda: [time.sleep(0.3), run.log('m', 1000)]).start()", 0),
    ],
)
def test_an_ending_process_writes_what_waits(script: Script, run: Run, ending: str, exit_code: int) -> None:
    ended = script(ending)
    assert ended.returncode == exit_code, ended.stderr
    count = 1001 if "1000)" in ending else 1000
    assert run.get_metrics() == {"m": list(range(count))}


def test_a_value_is_written_by_itself_without_a_flush(ws: Workspace, run: Run) -> None:
    run.log("m", 1)
    asked = time.monotonic()
    while not ws.records.metrics.list_metrics(run.id):
        assert time.monotonic() < asked + 10
        time.sleep(0.01)


def test_kill_9_loses_at_most_what_was_logged_last_and_nothing_flushed(script: Script, run: Run) -> None:
    ended = script("run.flush()\nfor n in range(1000, 2000): run.log('m', n)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert ended.returncode == -signal.SIGKILL
    found = run.get_metrics()["m"]
    assert found == list(range(len(found)))
    assert len(found) >= 1000


def test_kill_9_loses_nothing_when_synchronous(script: Script, run: Run) -> None:
    script("run = Run(run.experiment, run.id, synchronous=True)\nrun.log('s', 1)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert run.get_metrics("s") == {"s": 1}


def test_what_was_logged_is_read_back_at_once_by_any_run_object_of_the_process(ws: Workspace, run: Run) -> None:
    run.log("m", 1)
    assert run.get_metrics() == {"m": 1}
    run.log("m", 2)
    assert Run.get(ws, run.id).get_metrics() == {"m": [1, 2]}


def test_a_forked_child_leaves_the_parent_s_values_to_the_parent(script: Script, run: Run) -> None:
    script(
        """
pid = os.fork()
if pid == 0:
    run.log("child", 1)
    sys.exit()
os.waitpid(pid, 0)
run.log("parent", 1)
"""
    )
    assert run.get_metrics() == {"m": list(range(1000)), "child": 1, "parent": 1}


def test_a_forked_child_ends_by_sigterm_as_it_would_have(script: Script) -> None:
    ended = script(
        """
ready, tell = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(tell, b".")
    time.sleep(30)
    os._exit(9)
os.read(ready, 1)
os.kill(pid, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
"""
    )
    assert ended.stdout == f"{int(signal.SIGTERM)}\n"


def test_the_workers_of_a_pool_write_what_waits_at_their_end(script: Script, run: Run) -> None:
    ended = script(
        """
import multiprocessing
def log(number): run.log("worker", number)
context = multiprocessing.get_context("fork")
workers = [context.Process(target=log, args=[number]) for number in range(3)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
def log_and_wait(): run.log("terminated", 1); time.sleep(0.01); told.set(); time.sleep(30)
told = context.Event()
worker = context.Process(target=log_and_wait)
worker.start(); told.wait(); worker.terminate(); worker.join()
"""
    )
    assert ended.returncode == 0, ended.stderr
    metrics = run.get_metrics()
    assert (sorted(metrics["worker"]), metrics["terminated"]) == ([0, 1, 2], 1)


def test_a_pool_that_is_ended_by_its_block_leaves_all_that_its_workers_logged(script: Script, run: Run) -> None:
    ended = script(
        """
import multiprocessing
def log(worker):
    for n in range(100): run.log(f"worker {worker}", n)
for _ in range(20):  # what it is ended in the midst of is another thing each time
    with multiprocessing.get_context("fork").Pool(3) as pool: pool.map(log, range(12), chunksize=1)
"""
    )
    assert ended.returncode == 0, ended.stderr
    found = {name: sorted(values) for name, values in run.get_metrics().items() if name != "m"}
    assert found == {f"worker {worker}": sorted(list(range(100)) * 20) for worker in range(12)}


def test_a_worker_that_is_ended_while_it_starts_runs_ends(script: Script) -> None:
    ended = script(
        """
import multiprocessing
def start_runs(number):
    while True: run.experiment.start_logging(snapshot_directory=None).log("m", number)
for _ in range(5):
    workers = [multiprocessing.get_context("fork").Process(target=start_runs, args=[number]) for number in range(3)]
    [worker.start() for worker in workers]
    time.sleep(0.3)
    [worker.terminate() for worker in workers]
    [worker.join() for worker in workers]
    print(*{worker.exitcode for worker in workers})
"""
    )
    assert ended.stdout == f"{-signal.SIGTERM}\n" * 5, ended.stderr


def test_a_worker_that_is_ended_while_it_logs_has_kept_what_it_logged(script: Script, run: Run) -> None:
    ended = script(
        """
import multiprocessing
context = multiprocessing.get_context("fork")
def log(worker, count):
    while True:
        run.log(f"worker {worker}", count.value)
        count.value += 1  # the call has returned
def end_one(worker):
    count = context.Value("l", 0, lock=False)
    process = context.Process(target=log, args=[worker, count])
    process.start(); time.sleep(0.2); process.terminate(); process.join()
    return count.value
print(*[end_one(worker) for worker in range(4)])
"""
    )
    counts = [int(count) for count in ended.stdout.split()]
    kept = [len(run.get_metrics(f"worker {worker}")[f"worker {worker}"]) for worker in range(4)]
    assert ended.returncode == 0, ended.stderr
    assert min(counts) > 1000
    assert all(0 <= more <= 1 for more in (k - c for k, c in zip(kept, counts, strict=True)))  # one call may go on


def test_what_is_logged_while_python_ends_doesn_t_stop_it(script: Script, run: Run) -> None:
    ended = script(
        """
import builtins
class Late:
    def __del__(self):
        run.log("m", 1000)
        run.flush()
builtins.late = Late()  # the last names to go
"""
    )
    assert ended.returncode == 0, ended.stderr
    assert run.get_metrics()["m"][:1000] == list(range(1000))


def test_a_signal_s_handler_may_log_and_flush_at_any_moment_of_logging(script: Script, run: Run) -> None:
    ended = script(
        """
signal.signal(signal.SIGALRM, lambda *_: (run.log("alarm", 1), run.flush()))
signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)
for n in range(1000, 3000):
    run.log("m", n)
    run.flush()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    )
    assert ended.returncode == 0, ended.stderr
    assert run.get_metrics("m") == {"m": list(range(3000))}


def test_sigterm_while_the_process_exits_ends_it_when_all_is_written(script: Script, run: Run) -> None:
    ended = script(
        """
import atexit
atexit.register(lambda: [run.log("late", 1), os.kill(os.getpid(), signal.SIGTERM), time.sleep(30)])
"""
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, "")
    assert run.get_metrics() == {"m": list(range(1000)), "late": 1}


def test_sigterm_drains_where_only_other_threads_have_logged(ws: Workspace, run: Run) -> None:
    code = """
import os, signal, sys, threading, time
from mlflow_amlstore.core import Run, Workspace
run = Run.get(Workspace.create(sys.argv[1]), sys.argv[2])
thread = threading.Thread(target=lambda: [run.log("m", n) for n in range(1000)])
thread.start(); thread.join()
os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(ws.path), run.id], timeout=60, check=False)
    assert (ended.returncode, run.get_metrics()) == (143, {"m": list(range(1000))})


class FlakyMetrics:
    """A workspace's metrics that refuse to be written as long as they are told to."""

    def __init__(self, run: Run) -> None:
        self._log_values = run.experiment.workspace.records.metrics.log_values
        self.error: Exception | None = None
        self.is_written_first = False  # the error comes after the write, as when a service's answer is lost
        self.failing_name: str | None = None  # of the group's first value; any by default
        self.takes_s = 0.0
        self.calls = 0
        self.is_open = threading.Event()
        self.is_open.set()

    def log_values(self, run_id: str, logged: list[LoggedTuple], *, write_id: str | None = None) -> int:
        self.calls += 1
        self.is_open.wait()
        time.sleep(self.takes_s)
        fails = self.error is not None and bool(logged) and self.failing_name in (None, logged[0][0])
        if fails and self.is_written_first:
            self._log_values(run_id, logged, write_id=write_id)
        if fails and self.error is not None:
            raise self.error
        return self._log_values(run_id, logged, write_id=write_id)


@pytest.fixture
def flaky(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyMetrics]:
    metrics = FlakyMetrics(run)
    monkeypatch.setattr(run.experiment.workspace.records.metrics, "log_values", metrics.log_values)
    yield metrics
    metrics.is_open.set()


def test_values_that_cannot_be_written_now_wait_and_flush_says_why(
    run: Run, flaky: FlakyMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.error = DiskFull("workspace")
    run.log("m", 1)
    run.log("m", 2)
    for _ in range(2):
        with pytest.raises(DiskFull):
            run.flush()
    until = time.monotonic() + 20
    while not caplog.messages:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert caplog.messages == [f"Values logged into run {run.id} wait to be written: {flaky.error}"]
    flaky.error = None
    assert run.get_metrics() == {"m": [1, 2]}


def test_they_are_written_later_by_themselves(ws: Workspace, run: Run, flaky: FlakyMetrics) -> None:
    flaky.error = DiskFull("workspace")
    run.log("m", 1)
    with pytest.raises(DiskFull):
        run.flush()
    flaky.error = None
    until = time.monotonic() + 20
    while not ws.records.metrics.list_metrics(run.id):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_flush_doesn_t_wait_for_what_others_log_meanwhile(run: Run, flaky: FlakyMetrics) -> None:
    flaky.takes_s = 0.05  # a service far away
    has_flushed = threading.Event()

    def log() -> None:
        while not has_flushed.is_set():
            run.log("m", 0.5)
            time.sleep(0.005)

    logging = threading.Thread(target=log)
    logging.start()
    try:
        flushed = threading.Thread(target=run.flush)
        flushed.start()
        flushed.join(timeout=20)
        assert not flushed.is_alive()
    finally:
        has_flushed.set()
        logging.join()


def test_a_flush_raises_what_the_write_under_way_fails_by(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error = ServiceUnreachable("http://localhost", "tried long enough")
    flaky.is_open.clear()
    run.log("m", 1)
    while not flaky.calls:
        time.sleep(0.01)
    errors: list[Exception] = []

    def flush() -> None:
        try:
            run.flush()
        except ServiceUnreachable as error:
            errors.append(error)

    flushed = threading.Thread(target=flush)
    flushed.start()
    time.sleep(0.2)
    flaky.is_open.set()
    flushed.join()
    assert (errors, flaky.calls) == ([flaky.error], 1)
    flaky.error = None


def test_a_full_buffer_slows_the_caller_and_drops_nothing(run: Run, flaky: FlakyMetrics) -> None:
    flaky.is_open.clear()
    logged = threading.Thread(target=lambda: [run.log("m", 0.5) for _ in range(CAPACITY + 10)])
    logged.start()
    logged.join(timeout=3)
    assert logged.is_alive()
    flaky.is_open.set()
    logged.join(timeout=60)
    assert len(run.get_metrics()["m"]) == CAPACITY + 10


def test_a_name_that_another_process_took_for_another_kind_loses_that_value_alone(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    for n in range(5):
        run.log("m", n)
        if n == 3:
            run.log("taken", 1)
    with pytest.raises(InvalidValue, match="'taken' for metric: is already logged as a row; choose another name"):
        run.flush()
    run.flush()
    assert run.get_metrics() == {"taken": {"x": 1.0}, "m": [0, 1, 2, 3, 4]}


def test_what_was_written_of_a_group_is_not_written_again(ws: Workspace, run: Run, flaky: FlakyMetrics) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    flaky.error, flaky.failing_name = DiskFull("workspace"), "taken"
    run.log("m", 1)
    run.log("taken", 1)  # makes the group be written by halves: the first, and on a disk that is full now, not this
    with pytest.raises(DiskFull):
        run.flush()
    flaky.error = None
    with pytest.raises(InvalidValue, match="'taken'"):
        run.flush()
    assert run.get_metrics("m") == {"m": 1}


@pytest.mark.parametrize("ws", ["served"], indirect=True)
def test_a_service_applies_once_what_was_sent_again_for_a_lost_answer(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.is_written_first = ServiceUnreachable("http://localhost", "the answer was lost"), True
    for n in range(3):
        run.log("m", n)
    for _ in range(2):
        with pytest.raises(ServiceUnreachable):
            run.flush()
    flaky.error = None
    assert run.get_metrics() == {"m": [0, 1, 2]}


def test_an_error_of_no_known_kind_loses_what_causes_it_alone(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.failing_name = TypeError("odd"), "odd"
    run.log("odd", 1)
    run.log("m", 1)
    with pytest.raises(TypeError, match="odd"):
        run.flush()
    flaky.error = None
    assert run.get_metrics() == {"m": 1}


def test_what_is_logged_while_a_value_is_refused_holds_up_no_other(
    ws: Workspace, run: Run, flaky: FlakyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky.error, flaky.failing_name = TypeError("odd"), "odd"

    def log_values(run_id: str, logged: list[LoggedTuple], *, write_id: str | None = None) -> int:
        if [call[0] for call in logged] == ["odd"]:
            for _ in range(5):  # as another thread may just now
                run.log("odd", 1)
        return flaky.log_values(run_id, logged, write_id=write_id)

    monkeypatch.setattr(ws.records.metrics, "log_values", log_values)
    run.log("odd", 1)
    run.log("m", 1)
    with pytest.raises(TypeError, match="odd"):
        run.flush()
    assert [found.name for found in ws.records.metrics.list_metrics(run.id)] == ["m"]
    flaky.error = None


@EACH_KIND
def test_a_name_of_another_kind_is_refused_at_the_call(run: Run) -> None:
    run.log("m", 1)
    with pytest.raises(InvalidValue, match="'m' for metric: is already logged as a scalar; choose another name for"):
        run.log_row("m", x=1)
    assert run.get_metrics() == {"m": 1}


def test_what_a_workspace_took_in_part_is_not_sent_again(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.is_written_first = PartlyRefused(2, ["odd"], "it is odd"), True
    run.log("m", 1)
    run.log("odd", 1)
    with pytest.raises(PartlyRefused, match="'odd': it is odd"):
        run.flush()
    flaky.error = None
    assert run.get_metrics("m") == {"m": 1}
    run.log_row("odd", x=1)  # which the records refuse, not the memory of what was refused
    with pytest.raises(InvalidValue, match="'odd'"):
        run.flush()


@EACH_KIND
def test_a_name_refused_for_its_kind_is_taken_as_the_right_one_afterwards(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    run.log("taken", 1)
    with pytest.raises(AmlStoreError, match="'taken' for metric"):
        run.flush()
    run.log_row("taken", x=2.0)
    at_once = Run(run.experiment, run.id, synchronous=True)
    with pytest.raises(InvalidValue, match="'taken'"):
        at_once.log("taken", 1)
    assert run.get_metrics() == {"taken": {"x": [1.0, 2.0]}}


@EACH_KIND
def test_a_run_that_lost_a_value_is_completed_all_the_same(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    run.log("taken", 1)
    with pytest.raises(AmlStoreError, match="'taken' for metric"):
        run.complete()
    assert run.get_status() == "Completed"


@EACH_KIND
def test_a_value_larger_than_a_request_may_be_is_lost_alone(ws: Workspace, run: Run) -> None:
    run.log("text", "before")
    run.log("text", "x" * 40_000_000)
    run.log("text", "after")
    if ws.path is None:
        with pytest.raises(ServiceError, match="is over 33554432 bytes"):
            run.flush()
    texts = run.get_metrics()["text"]
    assert [text for text in texts if len(text) < 10] == ["before", "after"]


@EACH_KIND
def test_a_list_may_be_longer_than_a_request(run: Run) -> None:
    run.log_list("long", range(300_000))
    run.log_table("wide", {f"column {n}": [n] * 3000 for n in range(20)})
    assert run.get_metrics("long")["long"] == list(range(300_000))
    assert run.get_metrics("wide")["wide"]["column 19"] == [19] * 3000


def test_values_of_a_deleted_run_are_refused(ws: Workspace, run: Run) -> None:
    ws.records.runs.delete(run.id)  # type: ignore[attr-defined]  # an embedded workspace's can be
    run.log("m", 1)
    with pytest.raises(Deleted):
        run.flush()
    run.flush()


def test_a_completed_run_still_takes_values(experiment: Experiment) -> None:
    with experiment.start_logging() as run:
        run.log("m", 1)
    run.log("m", 2)
    assert (run.get_metrics(), run.get_status()) == ({"m": [1, 2]}, "Completed")


def test_the_exit_says_what_could_not_be_written(script: Script, ws: Workspace) -> None:
    ended = script("import shutil; time.sleep(0.5); run.log('m', 1); shutil.rmtree(sys.argv[1])")
    assert "mlflow-amlstore: values logged into a run were not written: No workspace in" in ended.stderr


def test_logging_starts_one_thread_however_many_runs_there_are(script: Script) -> None:
    ended = script(
        "for _ in range(5): run.child_run().log('m', 1)\nimport json; print([t.name for t in threading.enumerate()])"
    )
    assert json.loads(ended.stdout.replace("'", '"')) == ["MainThread", "mlflow-amlstore-log"]


def test_this_folder_is_left_as_it_was(run: Run) -> None:
    run.log("m", 1)
    run.complete()
    assert Path().resolve().name == "here"
    assert list(Path().iterdir()) == []
