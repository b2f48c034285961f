"""Logged values on their way to a workspace: `Run.log` returns at once, and a thread for each workspace writes groups.

A value is written within `GROUP_S` plus the time of a write. `kill -9` loses what was logged since; everything else
drains the buffers: `flush`, the interpreter's exit, which an uncaught exception and `sys.exit` come to, the end of a
`multiprocessing` worker, and SIGTERM (`sigterm.py`). The thread alone writes, because signals interrupt the main thread
only: nothing is written twice for a Ctrl-C that came between a write and its note.
"""

import atexit
import logging
import os
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mlflow_amlstore.core.sigterm import SigtermDrain
from mlflow_amlstore.errors import (
    AmlStoreError,
    InvalidState,
    PartlyRefused,
    PayloadTooLarge,
    ReadOnly,
    WorkspaceNotFound,
)
from mlflow_amlstore.records.common_store import CommonMetrics
from mlflow_amlstore.records.process_lock import leave_all
from mlflow_amlstore.records.types import LoggedTuple, MetricKind

GROUP_S = 0.1  # values gather for this long before they are written: half of what `kill -9` may lose
CAPACITY = 100_000  # of one run; a full buffer makes the caller wait for a write
_IDLE_S = 5.0  # a thread with nothing to write ends
_RETRY_S = 1.0  # after a write that failed for a reason that may pass
_REFUSALS = (400, 403, 404, 413, 422)  # HTTP statuses of errors that stay as they are
_MAY_PASS = (WorkspaceNotFound, ReadOnly, OSError, MemoryError)  # a share that isn't mounted, a full machine

_logger = logging.getLogger(__name__)


class _Group(NamedTuple):
    """Values written as one. Tried again, they have the same id, by which a service applies them once."""

    calls: list[LoggedTuple]
    write_id: str
    descriptions: dict[str, str]


class _Request(NamedTuple):
    """Somebody waits for a write. By a `SimpleQueue`, which a signal's handler may interrupt and use, too."""

    asked_s: float
    answer: "SimpleQueue[BaseException | None]"


class BufferedLog:
    """Values logged into one run by this process, written in the order in which each thread logged them."""

    def __init__(self, writer: "_Writer", run_id: str) -> None:
        self._writer, self._run_id = writer, run_id
        self.kinds: dict[str, MetricKind] = {}
        """What each name was first logged as by this process."""
        self.start_anew()

    def start_anew(self) -> None:
        """Be empty: at first, and in a forked child, where what waits is the parent's to write."""
        self._writing = threading.RLock()  # held by who writes, which at the interpreter's end is who logs
        self._is_writing = False
        self._waiting: list[LoggedTuple] = []  # appended to by any thread; what is written is cut off its beginning
        self._said: dict[str, str] = {}  # of metrics, to be written with the next values of theirs
        self._groups: list[_Group] = []  # what `_waiting` begins with, the next group to write last
        self._is_scheduled = False
        self._refused: Exception | None = None
        self._failure: tuple[float, Exception] | None = None  # of the last write that may yet pass, and when
        self._fates_told: set[str] = set()

    def add(self, logged: LoggedTuple) -> None:
        """Take one call's values, checked before. A full buffer is written first, which raises what `flush` does."""
        waiting = self._waiting
        waiting.append(logged)
        if not self._is_scheduled:
            self._is_scheduled = True
            if not self._writer.schedule(self):
                self.write_in_background()
        if len(waiting) >= self._writer.capacity:
            self.flush()

    def describe(self, name: str, description: str) -> None:
        """Take what is said of a metric, checked before. It is written with the values that are added next."""
        self._said[name] = description

    def write_through(self, calls: Iterable[LoggedTuple]) -> None:
        """Write values in the caller's thread: they are durable on return. Raises what the workspace raises."""
        left = list(calls)
        descriptions = self._said_of(left)
        while left:
            try:
                del left[: self._writer.metrics.log_values(self._run_id, left, descriptions=descriptions)]
            except Exception as error:
                self._forget_kinds(error.names if isinstance(error, PartlyRefused) else (call[0] for call in left))
                raise

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

    def write(self, asked_s: float | None = None) -> None:
        """Write what waits, in the thread that writes. Raises what `flush` does.

        Where a write has failed since it was asked for, at a time of `time.monotonic`, it isn't tried again at once:
        that took as long as a service may be away already.
        """
        if asked_s is not None and self._failure is not None and self._failure[0] > asked_s:
            raise self._failure[1]
        self._write_groups()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def write_in_background(self) -> bool:
        """As `write`, keeping what was refused for the next `flush`; return whether there was no other trouble."""
        failure: Exception | None = None
        try:
            self._write_groups()
        except Exception as error:  # the thread that writes for all runs must go on
            failure = error
            self._warn("wait to be written", error)
        if self._refused is not None:
            self._warn("were refused", self._refused)
        return failure is None

    def _write_groups(self) -> None:
        """Write what waits now. Raises what may pass; what is refused for good is dropped, and kept in `_refused`."""
        # While Python ends, a thread that was stopped in a write never leaves it.
        if not self._writing.acquire(blocking=not sys.is_finalizing()):
            return
        try:
            if not self._is_writing:  # else a finalizer or signal handler came between, and the write goes on after it
                self._is_writing = True
                try:
                    self._write_waiting()
                    self._failure = None
                except Exception as error:
                    self._failure = time.monotonic(), error
                    raise
                finally:
                    self._is_writing = False
        finally:
            self._writing.release()

    def _write_waiting(self) -> None:
        self._is_scheduled = False
        due = len(self._waiting)  # what is logged from now on is scheduled anew: a fast thread doesn't hold up `flush`
        while due > 0:
            if not self._groups:
                calls = self._waiting[: min(due, CAPACITY)]
                self._groups = [_group(calls, self._said_of(calls))]
            group = self._groups[-1]
            refusal: Exception | None = None
            try:
                began_s = time.monotonic()
                count = self._writer.metrics.log_values(
                    self._run_id, group.calls, write_id=group.write_id, descriptions=group.descriptions
                )
                _logger.debug(
                    "Wrote %d values of run %s in %.1f ms", count, self._run_id, (time.monotonic() - began_s) * 1000
                )
            except PartlyRefused as error:
                self._refused = self._refused or error
                self._forget_kinds(error.names)
                count = error.written
            except Exception as error:
                if _may_pass(error):
                    raise
                refusal = error
            if refusal is not None:
                due -= self._find_refused(group, refusal, due)
                continue
            self._groups.pop()
            if count < len(group.calls):
                self._groups.append(_group(group.calls[count:], group.descriptions))
            del self._waiting[:count]
            due -= count

    def _said_of(self, calls: Iterable[LoggedTuple]) -> dict[str, str]:
        """Take what is said of the metrics of these calls."""
        if not self._said:
            return {}
        taken = {name: self._said.pop(name, None) for name in {call[0] for call in calls}}  # threads may take at once
        return {name: said for name, said in taken.items() if said is not None}

    def _find_refused(self, group: _Group, refusal: Exception, due: int) -> int:
        """Halve a group that was refused, until what is refused stands alone and is dropped, with all of its name among
        the calls that are due. Return how many were dropped."""
        calls = group.calls
        of_run = self._refusal_of_run() if len(self._groups) == 1 else None
        if of_run is not None:
            return self._drop(of_run, due, lambda call: True)
        if len(calls) > 1:
            middle = len(calls) // 2
            self._groups[-1:] = [_part(group, calls[middle:]), _part(group, calls[:middle])]
            return 0
        if _is_too_large(refusal):
            return self._drop(refusal, due, lambda call: call is calls[0])
        return self._drop(refusal, due, lambda call: call[:2] == calls[0][:2])

    def _refusal_of_run(self) -> Exception | None:
        """Why the run takes no values at all, which writing none tells."""
        try:
            self._writer.metrics.log_values(self._run_id, [])
        except Exception as error:
            if _may_pass(error):
                raise
            return error
        return None

    def _drop(self, refusal: Exception, due: int, is_refused: Callable[[LoggedTuple], bool]) -> int:
        self._refused = self._refused or refusal
        kept = [call for call in self._waiting[:due] if not is_refused(call)]
        self._forget_kinds(call[0] for call in self._waiting[:due] if is_refused(call))
        self._waiting[:due] = kept
        for group in self._groups:  # what is said of a name goes with the name
            for name, description in _part(group, kept).descriptions.items():
                self._said.setdefault(name, description)
        self._groups.clear()
        return due - len(kept)

    def _forget_kinds(self, refused: Iterable[str]) -> None:
        """Take the names as any kind: it may have been the kind that was refused."""
        for name in refused:
            self.kinds.pop(name, None)

    def _warn(self, fate: str, error: Exception) -> None:
        if fate not in self._fates_told:
            self._fates_told.add(fate)
            _logger.warning("Values logged into run %s %s: %s", self._run_id, fate, error)


def _group(calls: list[LoggedTuple], descriptions: dict[str, str]) -> _Group:
    return _Group(calls, uuid.uuid4().hex, descriptions)


def _part(group: _Group, calls: list[LoggedTuple]) -> _Group:
    """A group of some of the calls, with what is said of their metrics."""
    if not group.descriptions:
        return _group(calls, {})
    names = {call[0] for call in calls}
    return _group(calls, {name: said for name, said in group.descriptions.items() if name in names})


def _may_pass(error: Exception) -> bool:
    """Whether the same values may be taken later; an error of no known kind would stay, and hold up all others."""
    if isinstance(error, _MAY_PASS):
        return True
    return isinstance(error, AmlStoreError) and error.http_status not in _REFUSALS


def _is_too_large(error: Exception) -> bool:
    return isinstance(error, AmlStoreError) and error.http_status == PayloadTooLarge.http_status


class _Writer:
    """The one thread that writes for all runs of a workspace; it lives while there is something to write."""

    def __init__(self, metrics: CommonMetrics) -> None:
        self.metrics = metrics
        self.logs: weakref.WeakValueDictionary[str, BufferedLog] = weakref.WeakValueDictionary()
        self.start_anew()

    def start_anew(self) -> None:
        """Be without a thread: at first, and in a forked child."""
        self.capacity = CAPACITY
        self._asked: SimpleQueue[tuple[BufferedLog, _Request | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()  # signal handlers and finalizers log, too
        for log in list(self.logs.values()):
            log.start_anew()

    def schedule(self, log: BufferedLog) -> bool:
        """See that the log is written soon; False where no thread can be had for it."""
        self._asked.put((log, None))
        return self._has_thread()

    def write_now(self, log: BufferedLog) -> None:
        """Have the log written, and raise what that raises."""
        if threading.current_thread() is self._thread:  # from a finalizer that ran in it
            return
        if not self._has_thread():
            log.write()
            return
        if self.metrics.is_busy_here:
            raise InvalidState(
                "What runs logged can't be written now: a signal's handler, or a finalizer, has interrupted another "
                "call of the workspace, which must end first. The values wait, and are written when it has"
            )
        request = _Request(time.monotonic(), SimpleQueue())
        self._asked.put((log, request))
        error = request.answer.get()
        if error is not None:
            raise error

    def _has_thread(self) -> bool:
        """Start the thread where there is none; False where none can be started any more, at the interpreter's end."""
        if sys.is_finalizing():  # threads stand still
            return False
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return True
            _sigterm.install()
            thread = threading.Thread(target=self._run, name="mlflow-amlstore-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
            return True

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
            if not self._asked.empty():
                return False
            if self._thread is threading.current_thread():
                self._thread = None
            return True

    def _gather(self) -> list[BufferedLog]:
        """Wait for the first log, then a while for more; those that somebody waits for are written meanwhile. Return
        none where none came for long."""
        gathered: dict[BufferedLog, None] = {}
        deadline = time.monotonic() + _IDLE_S
        while True:
            left_s = deadline - time.monotonic()
            if gathered and left_s <= 0:  # however many are waited for
                return list(gathered)
            try:
                log, request = self._asked.get(timeout=max(0.0, left_s))
            except Empty:
                return list(gathered)
            if request is None:
                if not gathered:
                    deadline = time.monotonic() + GROUP_S
                gathered[log] = None
                continue
            try:
                log.write(request.asked_s)
            except BaseException as error:
                request.answer.put(error)
            else:
                request.answer.put(None)

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
                if _may_pass(error):
                    failure = error
                else:
                    _say_lost(error)
            if failure is not None and log.is_waiting:
                _say_lost(failure)


def _say_lost(error: Exception) -> None:
    sys.stderr.write(f"mlflow-amlstore: values logged into a run were not written: {error}\n")


_writers: "weakref.WeakValueDictionary[int, _Writer]" = weakref.WeakValueDictionary()  # a writer holds its `metrics`
_lock = threading.RLock()


def buffered_log(metrics: CommonMetrics, run_id: str) -> BufferedLog:
    """The one buffer of a run in this process, whichever `Run` objects log into it."""
    _sigterm.install()
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


def _drain_all() -> None:
    for writer in list(_writers.values()):
        writer.drain()


def _stop_buffering() -> None:
    for writer in list(_writers.values()):
        writer.capacity = 1


def _end_by_sigterm() -> None:
    """A worker that a pool ends: what it has left running isn't a failure."""
    _drain_all()
    leave_all()


_sigterm = SigtermDrain(_end_by_sigterm, _stop_buffering)


def _drain_at_exit() -> None:
    _sigterm.is_exiting = True
    _drain_all()


def _start_anew_after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    for writer in list(_writers.values()):
        writer.start_anew()


# The first is called in `multiprocessing`'s workers, too, which have no `atexit` (more in plugin/async_logging.py); the
# second after threads that were still logging have ended.
threading._register_atexit(_drain_at_exit)  # type: ignore[attr-defined]
atexit.register(_drain_at_exit)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
