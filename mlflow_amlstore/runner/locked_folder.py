"""A folder on this machine that somebody looks after: whoever holds its lock, which the kernel frees at their end."""

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from mlflow_amlstore.errors import InvalidState

if sys.platform != "win32":
    import fcntl

_LOCK = "lock"


class LockedFolder:
    """A folder with a lock in it. An open lock can be handed to a child process, which holds it then, too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> int:
        """Make the folder, and take its lock; return the open lock."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def is_looked_after(self) -> bool:
        """Whether a process holds the lock."""
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def take(self) -> int | None:
        """Take the lock of a folder that nobody looks after; None where somebody does, or there is no folder."""
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def take_or_make(self) -> int | None:
        """As `take`, of a folder that is made where there is none."""
        self.path.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600))
        return self.take()

    def empty(self) -> None:
        """Remove what is in the folder, but for the lock, which others may have opened."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)

    def remove_left(self) -> None:
        """Remove a folder that nobody looks after: of a try to prepare it, which was killed."""
        if (lock := self.take()) is not None:
            self.remove()
            os.close(lock)

    def remove(self) -> None:
        """Remove the folder and what is in it, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)


def folder_of_user(name: str) -> Path:
    """The folder of this name that is this user's alone, in the system's temporary folder; made where it isn't there.

    Raises InvalidState where it is somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InvalidState(f"{folder} is not this user's alone. Remove it, or set TMPDIR to a folder that is")
    return folder
