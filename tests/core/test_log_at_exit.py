"""However a process ends but by `kill -9`, what it logged is written; and it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from fork_server import run_forked

from mlflow_amlstore.core import Run, Workspace

BEGIN = """
import os, signal, sys, threading, time
from mlflow_amlstore.core import Experiment, Run, Workspace
ws = Workspace.create(sys.argv[1])
run = Run.get(ws, sys.argv[2])
for n in range(1000):
    run.log("m", n)
"""


Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(ws: Workspace, run: Run) -> Script:
    """Runs a script that logged 1000 values into the run, in a process of its own, to its end.

    Where its signal handlers wait for another thread, its coverage isn't measured: the measuring has a lock, too, which
    a signal may find held.
    """

    def run_script(rest: str = "", *, is_measured: bool = True) -> "subprocess.CompletedProcess[str]":
        arguments = ["-c", BEGIN + rest, str(ws.path), run.id]
        if is_measured:
            return run_forked(arguments)
        environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

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


def test_kill_9_loses_at_most_what_was_logged_last_and_nothing_flushed(script: Script, run: Run) -> None:
    ended = script("run.flush()\nfor n in range(1000, 2000): run.log('m', n)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert ended.returncode == -signal.SIGKILL
    found = run.get_metrics()["m"]
    assert found == list(range(len(found)))
    assert len(found) >= 1000


def test_kill_9_loses_nothing_when_synchronous(script: Script, run: Run) -> None:
    script("run = Run(run.experiment, run.id, synchronous=True)\nrun.log('s', 1)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert run.get_metrics("s") == {"s": 1}


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
    process.start()
    while count.value <= 1000 and process.is_alive():
        time.sleep(0.01)
    process.terminate(); process.join()
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
""",
        is_measured=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert run.get_metrics("m") == {"m": list(range(3000))}


@pytest.mark.parametrize("ws", ["embedded"], indirect=True)
def test_a_handler_that_interrupts_a_write_is_told_so_and_its_values_are_written_later(
    script: Script, run: Run
) -> None:
    ended = script(
        """
from mlflow_amlstore.errors import InvalidState
told, alarms = [], []
def handle(*_):
    alarms.append(1)
    run.log("alarm", len(alarms))
    try:
        run.flush()
    except InvalidState as error:
        told.append(str(error))
    else:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while not told:
    run.tag("phase", "training")
print(len(alarms), told[0])
""",
        is_measured=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "can't be written now: a signal's handler, or a finalizer, has interrupted another" in ended.stdout
    alarms = int(ended.stdout.split()[0])
    metrics = run.get_metrics()
    assert metrics["m"] == list(range(1000))
    assert metrics["alarm"] == (1 if alarms == 1 else list(range(1, alarms + 1)))


def test_what_a_handler_raises_in_the_midst_of_writes_leaves_the_workspace_as_it_was(
    script: Script, ws: Workspace, run: Run
) -> None:
    ended = script(
        """
import random
seen = []
def handle(*_):
    seen.append(None)
    raise KeyboardInterrupt
def train():
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.002))
    while not seen:
        run.tag("phase", "training")
signal.signal(signal.SIGALRM, handle)
for n in range(1000, 1200):
    seen.clear()
    try:
        train()
    except KeyboardInterrupt as interrupt:
        seen.append(interrupt)  # as a notebook keeps the traceback, and with it all that was under way
    run.log("m", n)
    run.flush()
""",
        is_measured=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert run.get_metrics("m") == {"m": list(range(1200))}
    run.tag("phase", "read by another process")


@pytest.mark.parametrize("attempt", range(8))
def test_sigterm_in_the_midst_of_writes_loses_nothing(script: Script, run: Run, attempt: int) -> None:
    ended = script(
        f"threading.Timer({0.03 + attempt / 1000}, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
        "while True: run.tag('phase', 'training')"
    )
    assert (ended.returncode, ended.stderr) == (143, "")
    assert run.get_metrics("m") == {"m": list(range(1000))}


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
    ended = run_forked(["-c", code, str(ws.path), run.id])
    assert (ended.returncode, run.get_metrics()) == (143, {"m": list(range(1000))})


def test_the_exit_says_what_could_not_be_written(script: Script, ws: Workspace) -> None:
    ended = script("import shutil; run.flush(); shutil.rmtree(sys.argv[1]); run.log('m', 1)")
    assert "mlflow-amlstore: values logged into a run were not written: No workspace in" in ended.stderr


def test_logging_starts_one_thread_however_many_runs_there_are(script: Script) -> None:
    ended = script(
        "for _ in range(5): run.child_run().log('m', 1)\nimport json; print([t.name for t in threading.enumerate()])"
    )
    assert json.loads(ended.stdout.replace("'", '"')) == ["MainThread", "mlflow-amlstore-log"]
