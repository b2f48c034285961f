"""SIGTERM in a process whose buffers hold logged values: they are written before it ends.

A program's own process is made to exit, so that its `finally` blocks run, and the interpreter's exit drains. A worker
of `multiprocessing`, which its pool ends by SIGTERM as a matter of course, drains and then dies of the signal, as it
would have; so does a process that is exiting already, where an exception would go nowhere.

Python lets the main thread alone take a signal: it must have opened or logged into a run.
"""

import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

_EXIT_CODE = 128 + signal.SIGTERM
_AGAIN_S = 0.05
_ASKED = b"\0"  # no signal's number


class SigtermDrain:
    """What drains this process's buffers when SIGTERM comes, where the program has no handler of its own."""

    def __init__(self, drain: Callable[[], None], stop_buffering: Callable[[], None]) -> None:
        """`stop_buffering` makes what is logged from now on durable when the call returns."""
        self._drain, self._stop_buffering = drain, stop_buffering
        self._masks: dict[int, set[signal.Signals | int]] = {}  # of signals held back, by the thread that forks
        self._be_new()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold_back, after_in_parent=self._let_through, after_in_child=self._start_anew
            )

    def _be_new(self) -> None:
        self.is_exiting = False
        """Whether the interpreter's exit has begun."""
        self._is_installed = self._is_asked = self._is_drained = False
        self._told: int | None = None  # the end of a pipe that tells a worker's draining thread

    def install(self) -> None:
        """Take SIGTERM, in the main thread only: no other can."""
        if self._is_installed or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            return
        if multiprocessing.parent_process() is not None and hasattr(signal, "pthread_kill"):
            self._drain_in_a_thread()
        signal.signal(signal.SIGTERM, self._arrived)
        self._is_installed = True

    def _arrived(self, number: int, _: FrameType | None) -> None:
        if self._is_drained:
            _die(number)
        elif self._told is None and multiprocessing.parent_process() is None and not self.is_exiting:
            sys.exit(_EXIT_CODE)
        elif not self._is_asked:
            self._is_asked = True
            self._stop_buffering()
            if self._told is not None:  # the main thread may hold what the drain waits for, and must go on
                os.write(self._told, _ASKED)
                return
            try:
                self._drain()
            finally:
                _die(number)

    def _drain_in_a_thread(self) -> None:
        """Have a worker's buffers drained by a thread, which is told of signals even while the main thread doesn't come
        to handle them."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if former != -1:  # an event loop's: the handler tells the thread then
            signal.set_wakeup_fd(former)
        self._told = writing
        name = "mlflow-amlstore-sigterm"
        threading.Thread(target=self._drain_when_asked, args=[reading], name=name, daemon=True).start()

    def _drain_when_asked(self, reading: int) -> None:
        """Drain when the handler asks for it, and have it called: a signal that comes just before the main thread waits
        for a lock of `multiprocessing` doesn't end the wait, and a pool would wait for its worker for ever."""
        main, has_come = threading.main_thread().ident or 0, False
        poll = select.poll()  # unlike `select.select`, it takes the descriptors of a process that has over 1024 open
        poll.register(reading, select.POLLIN)
        while True:
            if has_come and not poll.poll(_AGAIN_S * 1000):
                signal.pthread_kill(main, signal.SIGTERM)
                continue
            told = os.read(reading, 1)
            has_come = has_come or told == bytes([signal.SIGTERM])
            if told == _ASKED:
                try:
                    self._drain()
                finally:
                    self._is_drained = has_come = True
                    signal.pthread_kill(main, signal.SIGTERM)

    def _hold_back(self) -> None:
        """Python forgets a signal that comes to a child before the child's own code runs; the system doesn't."""
        if self._is_installed:
            self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def _let_through(self) -> None:
        mask = self._masks.pop(threading.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _start_anew(self) -> None:
        """In a forked child: be as if never installed, so that one that logs nothing ends as it would have."""
        if self._is_installed and signal.getsignal(signal.SIGTERM) == self._arrived:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._told is not None and (other := signal.set_wakeup_fd(-1)) != self._told:
            signal.set_wakeup_fd(other)
        self._let_through()
        self._masks.clear()
        self._be_new()


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
