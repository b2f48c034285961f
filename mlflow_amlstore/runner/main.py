"""The process that runs one submitted script, from its turn to its end. It outlives whoever submitted the script.

The script starts first and the records are opened beside it, since loading what they need takes longer than all else.
A second process, the watch, does nothing but wait for this one to end: if it was killed, the watch ends the script and
has the run's record say so.
"""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlflow_amlstore.runner import processes
from mlflow_amlstore.runner.environments import interpreter_of
from mlflow_amlstore.runner.launch import AFTER, COOKIE, RUNNER_CODE, Launch, RunFolder, slots_folder
from mlflow_amlstore.runner.left_behind import end_left_behind
from mlflow_amlstore.runner.outputs import WATCHED_FOLDERS, OutputsFolder
from mlflow_amlstore.runner.preparation_log import PreparationLog
from mlflow_amlstore.runner.ranks import Rank, ranks_of
from mlflow_amlstore.runner.ray_address import is_ray_address
from mlflow_amlstore.runner.run_records import TOKEN_VARIABLES, go_by_run_token, new_log_name, open_log
from mlflow_amlstore.runner.slots import Slot, Slots, Ticket

if TYPE_CHECKING:
    from mlflow_amlstore.runner.lease import HeldLease
    from mlflow_amlstore.runner.ray_job import RayRun
    from mlflow_amlstore.runner.recording import Preparing, Recording, Waiting

GRACE_S = 5.0
"""How long a script has from SIGTERM to its end."""
_ENDED_WITHIN_S = 2.0  # from SIGKILL on
_LOOKED_EVERY_S = 0.05
_CANCELED_EVERY_S = 0.2  # an environment is built for so long before it is asked whether the run was canceled
_SHIM = Path(__file__).parent / "shim"  # has `azureml`
_STARTUP = Path(__file__).parent / "startup"  # has `sitecustomize`
_SDK_SCRIPT = Path(__file__).parent / "sdk_script.py"
_DONE = b"."


def main() -> None:
    """Run what a folder says: `PACKAGES FOLDER LOCK TICKET`; with `after` as TICKET, say that its runner was killed."""
    folder = RunFolder(Path(sys.argv[2]))
    launch = folder.read()
    try:
        if sys.argv[4:] == [AFTER]:
            processes.end(lambda: processes.of_folder(folder.path), grace_s=GRACE_S)
            go_by_run_token(launch)
            _record_that_it_died(folder, launch, "The run's runner was killed, and the script was ended with it")
        else:
            with _watched(folder):
                go_by_run_token(launch)
                runner = _Runner(folder, launch, Ticket(launch.ticket, int(sys.argv[4])))
                try:
                    runner.run()
                except Exception as error:  # which nobody would see: this process has no terminal
                    runner.end_script()
                    if not runner.has_lost_lease:
                        why = f"The run's runner failed: {type(error).__name__}: {error}"
                        _record_that_it_died(folder, launch, why)
                runner.end_lease()
    finally:
        folder.remove()
    end_left_behind()


@contextmanager
def _watched(folder: RunFolder) -> Iterator[None]:
    """Have a process wait for this one's end."""
    reader, writer = os.pipe()
    watch = os.fork()  # before there is any thread
    if watch == 0:
        os.close(writer)
        os.close(int(sys.argv[4]))  # the place in the queue is the runner's
        os.setsid()
        if os.read(reader, 1) == _DONE:
            os._exit(0)
        os.set_inheritable(int(sys.argv[3]), True)
        os.execv(sys.executable, [sys.executable, "-c", RUNNER_CODE, *sys.argv[1:4], AFTER])
    os.close(reader)
    yield
    os.write(writer, _DONE)
    os.close(writer)
    os.waitpid(watch, 0)


class _Canceled(BaseException):
    """Somebody canceled the run while its environment was built."""


class _Runner:
    """One run. `ticket` is its place in the queue."""

    def __init__(self, folder: RunFolder, launch: Launch, ticket: Ticket) -> None:
        self._folder, self._launch, self._ticket = folder, launch, ticket
        self._log = PreparationLog(launch, folder)
        self._children = processes.Children()
        self._told: dict[int, int] = {}  # the exit codes of processes that ended because they were told to
        self._must_end = False  # before its own end: somebody canceled the run, or told this process to end
        self._lease: HeldLease | None = None
        self._ray_run: RayRun | None = None
        self.has_lost_lease = False
        """Whether the run isn't this runner's any more, so that nothing may be recorded."""
        signal.signal(signal.SIGTERM, self._end_soon)

    def _end_soon(self, *_: object) -> None:
        self._must_end = True

    def _hold_lease(self) -> None:
        """Begin to hold the run's lease, where it has one; slow to import."""
        if self._launch.is_embedded or self._lease is not None:
            return
        from mlflow_amlstore.runner.lease import HeldLease

        self._lease = HeldLease(self._launch, ends_before_s=GRACE_S + _ENDED_WITHIN_S, lost=self._lose_lease)

    def _lose_lease(self) -> None:
        self.has_lost_lease = True
        self._end_soon()
        if self._ray_run is not None:
            self._ray_run.stop()
        processes.end(self._children.running, grace_s=GRACE_S)  # this process may be waiting for the service

    def end_lease(self) -> None:
        """End the lease: the run's record says what became of it."""
        if self._lease is not None and not self.has_lost_lease:
            self._lease.end()

    def end_script(self) -> None:
        """End what is left of the script."""
        if self._ray_run is not None:
            self._ray_run.stop()
        processes.end(self._children.running, grace_s=GRACE_S, meanwhile=self._reap_told)
        self._reap_told()

    def _reap_told(self) -> None:
        self._told |= self._children.reap()

    def run(self) -> None:
        """Run the script, and keep its record."""
        processes.adopt_orphans()
        if is_ray_address(self._launch.target):
            self._run_on_ray()
            return
        slot = self._take_slot()
        if slot is None:
            return
        if self._launch.snapshot_id and not self._fetch_files():
            return
        interpreter = self._interpreter()
        if interpreter is None:
            return
        outputs = [OutputsFolder(self._folder.source / name) for name in WATCHED_FOLDERS]
        before_script = [*interpreter, "-u", *([str(_SDK_SCRIPT)] if self._launch.has_sdk else [])]
        ranks = ranks_of(self._launch.definition, before_script, port=_free_port())
        logs = {rank.log: new_log_name(self._launch, self._folder, rank.log) for rank in ranks}
        started_ms = time.time_ns() // 1_000_000
        running, problem = self._start(
            ranks, {path: open_log(self._launch, name) for path, name in logs.items()}, interpreter
        )
        self._log.say_started(running, interpreter, problem)
        from mlflow_amlstore.runner.recording import Recording  # slow to import: the script has started

        self._hold_lease()
        if self._lease is not None:
            self._lease.script_has_started()
        recording = Recording(
            self._launch,
            self._folder,
            self._log,
            outputs,
            logs,
            running,
            started_ms,
            is_lost=lambda: self.has_lost_lease,
        )
        problem = problem or self._follow(running, len(ranks), recording)
        self.end_script()
        if self.has_lost_lease:
            return
        for pid, rank in running.items():
            recording.ranks.say_ended(rank, self._told.get(pid), was_told=True)
        recording.end(canceled=bool(self._must_end), problem=problem)

    def _run_on_ray(self) -> None:
        """Have Ray run the script, and keep its record. It takes no slot, as Ray has a queue of its own."""
        from mlflow_amlstore.runner.ray_job import RayRun

        Slots(slots_folder(), self._launch.target, 0).take(self._ticket, waits=lambda _: False)  # it gives up its place
        self._hold_lease()
        self._ray_run = RayRun(
            self._launch, self._folder, self._log, must_end=lambda: self._must_end, is_lost=lambda: self.has_lost_lease
        )
        self._ray_run.run(before_start=lambda: None if self._lease is None else self._lease.script_has_started())

    def _start(
        self, ranks: Sequence[Rank], sinks: Mapping[str, BinaryIO], interpreter: Sequence[str]
    ) -> tuple[dict[int, Rank], str]:
        """Start the ranks; return them by their process ids, and why one can't be started."""
        running: dict[int, Rank] = {}
        problem = ""
        for rank in ranks:
            environment = self._environment(rank, interpreter)
            try:
                pid = self._children.start(
                    rank.argv, cwd=self._folder.source, environment=environment, output=sinks[rank.log].fileno()
                )
            except OSError as error:
                problem = f"{rank.argv[0]} can't be started: {error.strerror}"
                break
            running[pid] = rank
        for sink in sinks.values():
            sink.close()
        return running, problem

    def _follow(self, running: dict[int, Rank], count: int, recording: "Recording") -> str:
        """Keep the record up to date until the ranks have ended or must end; return why the run failed, if it did."""
        longest_s = float(self._launch.definition.get("maxRunDurationSeconds") or math.inf)
        deadline = time.monotonic() + longest_s
        while running and not self._must_end:
            time.sleep(_LOOKED_EVERY_S)
            if recording.keep_up():
                self._end_soon()
            if time.monotonic() > deadline:
                return f"the run took longer than max_run_duration_seconds={longest_s:g}"
            problems = []
            for pid, code in self._children.reap().items():
                if rank := running.pop(pid, None):
                    recording.ranks.say_ended(rank, code)
                    if code:
                        problems.append(_how_it_ended(rank, code, count))
            if problems:
                return problems[0]
        return ""

    def _take_slot(self) -> Slot | None:
        """Wait for this run's turn; None where it was canceled meanwhile."""
        waiting: Waiting | None = None

        def waits(before: int) -> bool:
            nonlocal waiting
            if waiting is None:
                self._hold_lease()
                from mlflow_amlstore.runner.recording import Waiting as Opened

                waiting = Opened(self._launch, self._log)
            self._log.say_waits(before)
            return not self._must_end and waiting.goes_on()

        slots = Slots(slots_folder(), self._launch.target, self._launch.slots)
        slot = slots.take(self._ticket, waits=waits)
        if slot is None and waiting is not None and not self.has_lost_lease:
            waiting.cancel()
        if slot is not None:
            self._log.say_has_slot()
        return slot

    def _fetch_files(self) -> bool:
        """Fetch the script's files; False where that failed, which the record then says, or the run was canceled."""
        from mlflow_amlstore.errors import AmlStoreError
        from mlflow_amlstore.runner.recording import Preparing

        self._hold_lease()
        preparing = Preparing(self._launch, self._folder, self._log)
        try:
            preparing.fetch_files()
        except (AmlStoreError, OSError) as error:
            if not self.has_lost_lease:
                preparing.end(problem=f"The files of the script can't be fetched: {error}")
            return False
        if preparing.is_canceled():
            preparing.end(canceled=True)
            return False
        return True

    def _interpreter(self) -> list[str] | None:
        """The command that starts the run's Python, built first if need be; None where that failed or was canceled."""
        from mlflow_amlstore.errors import AmlStoreError

        preparing: Preparing | None = None

        def opened() -> "Preparing":
            nonlocal preparing
            if preparing is None:
                self._hold_lease()
                from mlflow_amlstore.runner.recording import Preparing as Opened

                preparing = Opened(self._launch, self._folder, self._log)
            return preparing

        def look(*_: object) -> None:
            if self._must_end or (preparing is not None and preparing.is_canceled()):
                raise _Canceled

        began_s = time.monotonic()
        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, _CANCELED_EVERY_S, _CANCELED_EVERY_S)
        try:
            environment = self._launch.definition.get("environment")
            interpreter = interpreter_of(
                environment, output=lambda chunk: opened().write(chunk), folder=self._folder.source
            )
            signal.setitimer(signal.ITIMER_REAL, 0)
        except _Canceled:
            if not self.has_lost_lease:
                opened().end(canceled=True)
            return None
        except AmlStoreError as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not self.has_lost_lease:
                opened().end(problem=str(error))
            return None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if preparing is not None:
            preparing.end()
        self._log.say_interpreter(interpreter, None if preparing is None else time.monotonic() - began_s)
        return interpreter

    def _environment(self, rank: Rank, interpreter: Sequence[str]) -> dict[str, str]:
        source = str(self._folder.source)
        path = os.pathsep.join(filter(None, [str(Path(interpreter[0]).parent), os.environ.get("PATH", "")]))
        own = {"PATH": path, "PYTHONUNBUFFERED": "1"}  # for a command: its `python` is the interpreter, with `-u`
        given = {**os.environ, **own, **self._launch.variables}
        shim = "" if self._launch.has_sdk else str(_SHIM)
        python_path = os.pathsep.join(filter(None, [str(_STARTUP), source, shim, given.get("PYTHONPATH", "")]))
        if self._launch.token:  # as it was renewed, while the run waited
            given.update(dict.fromkeys(TOKEN_VARIABLES, os.environ[TOKEN_VARIABLES[0]]))
        return {**given, **rank.variables, "PYTHONPATH": python_path, COOKIE: str(self._folder.path)}


def _how_it_ended(rank: Rank, code: int, of: int) -> str:
    which = f"rank {rank.number} of the script" if of > 1 else "the script"
    return f"{which} {processes.how_it_ended(code)}"


def _record_that_it_died(folder: RunFolder, launch: Launch, why: str) -> None:
    from mlflow_amlstore.runner.recording import record_death

    if is_ray_address(launch.target):
        from mlflow_amlstore.runner.ray_job import stop_job

        stop_job(launch)
    record_death(launch, folder, why)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
