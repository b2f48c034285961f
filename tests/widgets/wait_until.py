"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_GIVEN_UP_S = 120.0  # a test fails then; none measures speed


def wait_until(look: Callable[[], T]) -> T:
    """Return what `look` gives as soon as that is anything."""
    end = time.monotonic() + _GIVEN_UP_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, "it doesn't come"
        time.sleep(0.05)
