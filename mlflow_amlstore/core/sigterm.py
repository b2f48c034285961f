"""SIGTERM in a process whose buffers hold logged values: they are written before it ends.

A program's own process is made to exit, so that its `finally` blocks run, and the interpreter's exit drains. A worker
of `multiprocessing`, which its pool ends by SIGTERM as a matter of course, drains and then dies of the signal, as it
would have; so does a process that is exiting already, where an exception would go nowhere.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

_EXIT_CODE = 128 + signal.SIGTERM
_AGAIN_S = 0.05


class SigtermDrain:
    """What drains this process's buffers when SIGTERM comes, where the program has no handler of its own."""

    def __init__(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._be_new()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold_back, after_in_parent=self._let_through, after_in_child=self._start_anew
            )

    def _be_new(self) -> None:
        self.is_exiting = False
        """Whether the interpreter's exit has begun."""
        self._is_installed = self._is_draining = self._is_drained = False
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
        elif self._told is not None:
            os.write(self._told, bytes([number]))
        elif multiprocessing.parent_process() is None and not self.is_exiting:
            sys.exit(_EXIT_CODE)
        elif not self._is_draining:
            self._is_draining = True
            try:
                self._drain()
            finally:
                _die(number)

    def _drain_in_a_thread(self) -> None:
        """Have a worker's buffers drained by a thread, which is told of signals even while the main thread, which holds
        a lock of the workspace maybe, doesn't come to handle them."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if former != -1:  # an event loop's: the handler tells the thread then
            signal.set_wakeup_fd(former)
        self._told = writing
        name = "mlflow-amlstore-sigterm"
        threading.Thread(target=self._drain_when_told, args=[reading], name=name, daemon=True).start()

    def _drain_when_told(self, reading: int) -> None:
        """Drain and have the main thread die of the signal: sent until it does, because one that comes just before a
        wait for a lock of `multiprocessing` doesn't end the wait, and a pool would wait for its worker for ever."""
        main = threading.main_thread().ident
        while os.read(reading, 1) != bytes([signal.SIGTERM]) or main is None:
            pass
        try:
            self._drain()
        finally:
            self._is_drained = True
            while True:
                signal.pthread_kill(main, signal.SIGTERM)
                time.sleep(_AGAIN_S)

    def _hold_back(self) -> None:
        """Python forgets a signal that comes to a child before the child's own code runs; the system doesn't."""
        if self._is_installed:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def _let_through(self) -> None:
        if self._is_installed:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def _start_anew(self) -> None:
        """In a forked child: be as if never installed, so that one that logs nothing ends as it would have."""
        if self._is_installed and signal.getsignal(signal.SIGTERM) == self._arrived:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._told is not None and (other := signal.set_wakeup_fd(-1)) != self._told:
            signal.set_wakeup_fd(other)
        self._let_through()
        self._be_new()


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
