"""Slots of a compute target on this machine: so many of its runs run at a time, the others wait in their order.

Nobody keeps the list. Each run that waits holds the lock of a ticket, which its submitter takes and hands to its
runner; each that runs holds the lock of a slot. The kernel releases both when their process ends, however it does.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from mlflow_amlstore.records.common_store import CommonComputeTargets
from mlflow_amlstore.records.types import AGENTS, LOCAL_TARGET
from mlflow_amlstore.runner.ray_address import is_ray_address, jobs_url

if sys.platform != "win32":
    import fcntl

_LOOKED_EVERY_S = 0.05
_AT_ONCE_S = 0.1  # others that line up at the same time take their slots meanwhile


def cores() -> int:
    """How many runs of a target run at a time on this machine, where nobody says otherwise."""
    return os.cpu_count() or 1


def slots_of(targets: CommonComputeTargets, name: str) -> int | None:
    """How many runs of a target run at a time on the machine that submits; None where agents run them, 0 on Ray.

    Raises NotFound for a target that isn't there, InvalidValue for an address of Ray's that is none.
    """
    if name == LOCAL_TARGET:
        return cores()
    if is_ray_address(name):
        jobs_url(name)
        return 0
    target = targets.get(name)
    return None if target.kind == AGENTS else target.slots


class Slot:
    """A slot that is taken. It is free when it is released, or when the process has ended."""

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def release(self) -> None:
        """Give it to the next that waits."""
        os.close(self._lock)


class Ticket(NamedTuple):
    """A place in a queue: the name of its file, and the open lock, which another process may be given."""

    name: str
    lock: int


class Slots:
    """The slots of one target. `folder` is that of this user's targets on this machine."""

    def __init__(self, folder: Path, target: str, count: int) -> None:
        self._folder = folder / quote(target, safe="")
        self._queue = self._folder / "queue"
        self._count = count

    def line_up(self) -> Ticket:
        """Take the last place in the queue. It is given up when no process has the lock open any more."""
        self._queue.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}"
        hidden = self._queue / f".{name}"  # till it is locked: whoever counts takes one that isn't for a dead one's
        lock = _locked(hidden)
        assert lock is not None  # nobody else has this name
        hidden.rename(self._queue / name)
        return Ticket(name, lock)

    def take(self, ticket: Ticket, *, waits: Callable[[int], bool], every_s: float = _LOOKED_EVERY_S) -> Slot | None:
        """Take a slot when it is the ticket's turn; the ticket is used up.

        Before, unless that is at once, `waits` is told every `every_s` how many wait before it. Where it returns False
        the place is given up, and None is returned.
        """
        told_at = time.monotonic() + _AT_ONCE_S
        try:
            while True:
                before = _waiting(self._queue, ticket.name)
                if before == 0 and (slot := self._free_slot()) is not None:
                    return slot
                if time.monotonic() < told_at:
                    time.sleep(_AT_ONCE_S / 20)
                    continue
                if not waits(before):
                    return None
                time.sleep(every_s)
        finally:
            (self._queue / ticket.name).unlink(missing_ok=True)
            os.close(ticket.lock)

    def _free_slot(self) -> Slot | None:
        for number in range(self._count):
            lock = _locked(self._folder / f"slot-{number}")
            if lock is not None:
                return Slot(lock)
        return None


def waiting(folder: Path, target: str) -> int:
    """How many runs wait for a slot of a target."""
    queue = folder / quote(target, safe="") / "queue"
    return _waiting(queue, "~") if queue.is_dir() else 0


def _waiting(queue: Path, name: str) -> int:
    """How many tickets before this one are held; those of processes that have ended are removed."""
    count = 0
    for ticket in sorted(found for found in queue.iterdir() if not found.name.startswith(".") and found.name < name):
        lock = _locked(ticket, is_new=False)
        if lock is None:
            count += ticket.exists()
            continue
        ticket.unlink(missing_ok=True)
        os.close(lock)
    return count


def _locked(path: Path, *, is_new: bool = True) -> int | None:
    """Take the lock of a file; None where another process has it, or the file isn't there and isn't to be made."""
    with suppress(FileNotFoundError, BlockingIOError):
        number = os.open(path, os.O_RDWR | (os.O_CREAT if is_new else 0), 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(number)
            raise
        return number
    return None
