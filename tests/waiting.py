"""Waiting for what another process does, however long it takes on a loaded machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_GIVEN_UP_S = 600.0  # what hangs fails then; no test measures speed by it


def wait_for(condition: Callable[[], T]) -> T:
    """Ask until there is an answer that counts as true, and return it."""
    end_s = time.monotonic() + _GIVEN_UP_S
    while not (found := condition()):
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    """Whether a process still runs: one that ended and that nobody waits for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
