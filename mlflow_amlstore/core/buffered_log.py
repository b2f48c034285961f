"""Logged values on their way to a workspace: `Run.log` returns at once, and a thread for each workspace writes groups.

A value is written within `GROUP_S` plus the time of a write. `kill -9` loses what was logged since; everything else
drains the buffers: `flush`, the interpreter's exit, which an uncaught exception and `sys.exit` come to, and SIGTERM,
which is turned into that exit where the program has no handler of its own. The thread alone writes, because signals
interrupt the main thread only: nothing is written twice for a Ctrl-C that came between a write and its note.
"""

import atexit
import logging
import os
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import FrameType

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.common_store import CommonMetrics
from mlflow_amlstore.records.types import LoggedTuple

GROUP_S = 0.1  # values gather for this long before they are written: half of what `kill -9` may lose
CAPACITY = 100_000  # of one run; a full buffer makes the caller wait for a write
_IDLE_S = 5.0  # a thread with nothing to write ends
_RETRY_S = 1.0  # after a write that failed for a reason that may pass
_SIGTERM_EXIT_CODE = 128 + signal.SIGTERM

_logger = logging.getLogger(__name__)


class BufferedLog:
    """Values logged into one run by this process, written in the order in which each thread logged them."""

    def __init__(self, writer: "_Writer", run_id: str) -> None:
        self._writer, self._run_id = writer, run_id
        self.start_anew()

    def start_anew(self) -> None:
        """Be empty: at first, and in a forked child, where what waits is the parent's to write."""
        self._waiting: list[LoggedTuple] = []  # appended to by any thread; what is written is cut off its beginning
        self._is_scheduled = False
        self._refused: AmlStoreError | None = None
        self._has_warned = False

    def add(self, logged: LoggedTuple) -> None:
        """Take one call's values, checked before. A full buffer is written first, which raises what `flush` does."""
        waiting = self._waiting
        waiting.append(logged)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._writer.schedule(self)
        if len(waiting) >= CAPACITY:
            self.flush()

    def flush(self) -> None:
        """Have everything written that was added before: it is durable on return.

        Raises what the workspace raised, now or in the background: values that can never be written (their run is
        deleted, their name is taken by another kind of metric) are dropped with that error; all others wait on.
        """
        if self.is_waiting or self._refused is not None:
            self._writer.write_now(self)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting)

    def write(self) -> None:
        """Write what waits; for the writing thread alone. Raises what `flush` does."""
        self._is_scheduled = False
        while self._waiting:
            self._write(self._waiting[:CAPACITY])
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def write_in_background(self) -> bool:
        """As `write`, keeping what was refused for the next `flush`; return whether nothing is left to write."""
        try:
            self.write()
        except AmlStoreError as error:
            self._refused = error if not self._waiting else None
            self._warn(error)
        except Exception as error:  # the thread that writes for all runs must go on
            self._warn(error)
        return not self._waiting

    def _write(self, group: list[LoggedTuple]) -> None:
        """Write the group that `_waiting` begins with and cut it off; where it is refused for good, halve it until what
        is refused stands alone. What one half has written doesn't wait for the other: it isn't written again."""
        try:
            self._writer.metrics.log_values(self._run_id, group)
            del self._waiting[: len(group)]
            return
        except AmlStoreError as error:
            if error.http_status not in (400, 404):
                raise
            refusal = error
        if len(group) == 1:
            self._refused = self._refused or refusal
            del self._waiting[:1]
            return
        middle = len(group) // 2
        self._write(group[:middle])
        self._write(group[middle:])

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            fate = "wait to be written" if self._waiting else "were refused"
            _logger.warning("Values logged into run %s %s: %s", self._run_id, fate, error)


class _Writer:
    """The one thread that writes for all runs of a workspace; it lives while there is something to write."""

    def __init__(self, metrics: CommonMetrics) -> None:
        self.metrics = metrics
        self.logs: weakref.WeakValueDictionary[str, BufferedLog] = weakref.WeakValueDictionary()
        self.start_anew()

    def start_anew(self) -> None:
        """Be without a thread: at first, and in a forked child."""
        self._asked: SimpleQueue[tuple[BufferedLog, Future[None] | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        for log in list(self.logs.values()):
            log.start_anew()

    def schedule(self, log: BufferedLog) -> None:
        """See that the log is written soon."""
        self._asked.put((log, None))
        self._need_thread()

    def write_now(self, log: BufferedLog) -> None:
        """Have the log written, and raise what that raises."""
        if threading.current_thread() is self._thread:  # from a finalizer that ran in it
            return
        written: Future[None] = Future()
        self._asked.put((log, written))
        self._need_thread()
        written.result()

    def _need_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                _drain_on_sigterm()
                self._thread = threading.Thread(target=self._run, name="mlflow-amlstore-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            gathered = self._gather()
            if not gathered and self._ends():
                return
            left = [log for log in gathered if not log.write_in_background()]
            if left:
                time.sleep(_RETRY_S)
                for log in left:
                    self._asked.put((log, None))

    def _ends(self) -> bool:
        with self._starting:
            if self._asked.empty():
                self._thread = None
            return self._thread is None

    def _gather(self) -> list[BufferedLog]:
        """Wait for the first log, then a while for more; those that somebody waits for are written meanwhile. Return
        none where none came for long."""
        gathered: dict[BufferedLog, None] = {}
        deadline = time.monotonic() + _IDLE_S
        while True:
            try:
                log, written = self._asked.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return list(gathered)
            if written is None:
                if not gathered:
                    deadline = time.monotonic() + GROUP_S
                gathered[log] = None
                continue
            try:
                log.write()
            except BaseException as error:
                written.set_exception(error)
            else:
                written.set_result(None)

    def drain(self) -> None:
        """Write all that waits, saying what couldn't be: at the end, nobody is left to raise an error to.

        After a first failure, the workspace isn't tried again for each other run.
        """
        failure: Exception | None = None
        for log in list(self.logs.values()):
            try:
                if failure is None:
                    log.flush()
            except Exception as error:
                if log.is_waiting:
                    failure = error
                else:
                    _say_lost(error)
            if failure is not None and log.is_waiting:
                _say_lost(failure)


def _say_lost(error: Exception) -> None:
    sys.stderr.write(f"mlflow-amlstore: values logged into a run were not written: {error}\n")


def _drain_on_sigterm() -> None:
    """Make SIGTERM an exit of the interpreter, which drains, where it would kill the process at once."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    owner = os.getpid()

    def exit_by_sigterm(signal_number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked child, such as a data loader's worker, ends as it would have
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)
        else:
            sys.exit(_SIGTERM_EXIT_CODE)

    signal.signal(signal.SIGTERM, exit_by_sigterm)


_writers: "weakref.WeakValueDictionary[int, _Writer]" = weakref.WeakValueDictionary()  # a writer holds its `metrics`
_lock = threading.Lock()


def buffered_log(metrics: CommonMetrics, run_id: str) -> BufferedLog:
    """The one buffer of a run in this process, whichever `Run` objects log into it."""
    with _lock:
        writer = _writers.get(id(metrics))
        if writer is None:
            writer = _writers[id(metrics)] = _Writer(metrics)
        log = writer.logs.get(run_id)
        if log is None:
            log = writer.logs[run_id] = BufferedLog(writer, run_id)
        return log


def drain_logs(metrics: CommonMetrics) -> None:
    """Write all that waits for one workspace; what couldn't be written is said on stderr."""
    with _lock:
        writer = _writers.get(id(metrics))
    if writer is not None:
        writer.drain()


@atexit.register
def _drain_all() -> None:
    for writer in list(_writers.values()):
        writer.drain()


def _start_anew_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for writer in list(_writers.values()):
        writer.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
