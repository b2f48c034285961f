"""How fast this machine is just now: what tests take tokens' lives and the lengths of their waits from.

Whatever else runs beside a test, no number of seconds is long enough by itself. So a test measures as it starts, and
allows as many times longer as the machine is slower than a quiet one.
"""

import time

from fork_server import ForkedProcess

_PROCESSES = 4
_TURNS = 2


def unit_s() -> float:
    """How long four processes take just now that start at once and end, in seconds: the longer of two turns."""
    _turn_s()  # the first of all starts the fork server
    return max(_turn_s() for _ in range(_TURNS))


def at_least(seconds: float, units: float) -> float:
    """`seconds`, which do on a quiet machine, or so many units where that is longer."""
    return max(seconds, units * unit_s())


def _turn_s() -> float:
    began = time.monotonic()
    processes = [ForkedProcess(["-c", "pass"]) for _ in range(_PROCESSES)]
    assert [process.wait() for process in processes] == [0] * _PROCESSES
    return time.monotonic() - began
