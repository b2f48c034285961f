"""Which processes have runs going in a workspace: each holds a lock on a file of its own, as long as it lives.

The system frees the lock however a process ends. So a free lock says for certain that the process is gone, on the
machine that the file names; the runs that `run_processes` has for the file were not completed. A process that ends as
it should empties its file first, or removes it: what it left open is then for others to go on with.

The lock is `flock`'s, which belongs to an open file and not to a process. That of `fcntl.lockf` would be lost as soon
as anybody in this process read the file and closed it, as a copy of the folder does, and a run that goes on would seem
dead. A forked child has the open file, too, and closes it at once; a program that is executed never gets it. Where a
child keeps it all the same, the run is found when the child has ended.

Not on Windows, which has no such lock.
"""

import os
import re
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from mlflow_amlstore.records.machine import this_machine

if sys.platform != "win32":
    import fcntl

FOLDER_NAME = "running"
"""The folder of these files in a workspace."""
_FILE_NAME = re.compile("[0-9a-f]{32}")
_LAST = -100  # of what `multiprocessing` calls at a process's end


class ProcessLock:
    """The lock of this process in one workspace. It is taken when the first run is set going."""

    def __init__(self, workspace: Path) -> None:
        self._folder = workspace / FOLDER_NAME
        self._ends_with_process = False
        self._forget()
        _locks.add(self)

    def _forget(self) -> None:
        self._name: str | None = None
        self._file: int | None = None
        self.going: set[str] = set()
        """The runs that this process set going and hasn't ended, by id."""

    def take(self) -> str | None:
        """The name of the file that this process has locked. None where a lock can't be had: its runs aren't watched
        then, which is no reason not to log."""
        if self._name is None and sys.platform != "win32":
            with suppress(OSError), _taking:
                if self._name is None:
                    self._name, self._file = self._locked_file()
                    if not self._ends_with_process:
                        _at_the_end(self._end)
                        self._ends_with_process = True
        return self._name

    def _locked_file(self) -> tuple[str, int]:
        self._folder.mkdir(exist_ok=True)
        while True:
            name = uuid.uuid4().hex
            file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                os.write(file, this_machine().encode())
                if os.fstat(file).st_nlink:  # else somebody found it unlocked, and removed it
                    return name, file
            except BaseException:
                os.close(file)
                (self._folder / name).unlink(missing_ok=True)
                raise
            os.close(file)

    def _end(self) -> None:
        if _ends_as_it_should():
            self.leave()

    def leave(self) -> None:
        """Leave the runs that are going for others: they aren't this process's any more."""
        name, file = self._name, self._file
        if name is None or file is None:
            return
        is_needed = bool(self.going)
        self._forget()
        with suppress(OSError):
            if is_needed:  # by the rows that name it, until somebody looks
                os.ftruncate(file, 0)
            else:
                (self._folder / name).unlink(missing_ok=True)
        os.close(file)

    def start_anew(self) -> None:
        """In a forked child: have no lock, and leave the parent's alone."""
        file = self._file
        self._forget()
        self._ends_with_process = False
        if file is not None:
            os.close(file)


class FreeLock:
    """The file of a process that is gone, locked by this one while it is looked at. `machine` is empty where the
    process left its runs for others."""

    def __init__(self, path: Path, file: int) -> None:
        self.name, self._path, self._file = path.name, path, file
        self.machine = os.read(file, 1000).decode(errors="replace")
        self.modified_s = os.fstat(file).st_mtime

    def __enter__(self) -> "FreeLock":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        os.close(self._file)

    def remove(self) -> None:
        """Remove the file: nothing refers to it any more."""
        self._path.unlink(missing_ok=True)


def free_locks(workspace: Path) -> Iterator[FreeLock]:
    """Take the locks that nobody holds, one after the other; each is to be used in a `with` block.

    What can't be opened, as another user's, is left out.
    """
    try:
        names = [found.name for found in os.scandir(workspace / FOLDER_NAME)]
    except OSError:
        return
    for name in names if sys.platform != "win32" else ():
        if not _FILE_NAME.fullmatch(name):
            continue
        path = workspace / FOLDER_NAME / name
        with suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = FreeLock(path, file)
            except BaseException:
                os.close(file)
                raise
            yield free


def leave_all() -> None:
    """Leave the runs of this process for others, in every workspace: it is told to end, and ends as it should."""
    for lock in list(_locks):
        lock.leave()


def _at_the_end(call: Callable[[], None]) -> None:
    """Have something called as this process ends, also a worker of `multiprocessing`, which has no `atexit`."""
    from multiprocessing.util import Finalize  # slow to import

    Finalize(None, call, exitpriority=_LAST)


def _ends_as_it_should() -> bool:
    """Not so where an exception ends the program, nor where an interactive session ends, as a notebook's kernel: who
    started a run there can't go on with it."""
    from multiprocessing import parent_process  # slow to import

    if parent_process() is not None:  # which forked this one with what its own session has
        return True
    return not hasattr(sys, "last_value") and not hasattr(sys, "ps1")


_locks: "weakref.WeakSet[ProcessLock]" = weakref.WeakSet()
_taking = threading.RLock()  # held by a thread that forks, too: no child gets a file that it doesn't know of


def _before_fork() -> None:
    _taking.acquire()


def _after_fork_in_parent() -> None:
    _taking.release()


def _after_fork_in_child() -> None:
    global _taking
    _taking = threading.RLock()
    for lock in list(_locks):
        lock.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
