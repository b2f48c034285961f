"""What an ordinary user may: root reads and writes any file, whatever its mode, so a test that root runs gives that up.

with without_roots_rights():
    ...
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fork_server import AMLSTORE

_VERSION_3 = 0x20080522  # of Linux' capability sets: capget(2)
_DROPPED = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
AMLSTORE_AS_ORDINARY_USER = (
    "-c",
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); "
    f"from ordinary_rights import drop_roots_rights; drop_roots_rights(); {AMLSTORE[1]}",
)
"""What runs the command `amlstore` without root's rights; its arguments follow, as in `ForkedProcess`."""


def drop_roots_rights() -> None:
    """Let this process, which has one thread yet, read and write what the modes of files let it, for good."""
    _drop(2)  # effective and permitted ones, by which access(2) goes


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Do so within the block, in the thread that runs it."""
    try:
        had = _drop(1)
    except OSError as error:
        import pytest  # which a process that is started needn't import

        pytest.skip(f"root can't give up its rights here: {error}")
    try:
        yield
    finally:
        if had is not None:
            _capabilities("capset", had)


def _drop(sets: int) -> list[int] | None:
    """Drop them from the first of this thread's sets; return what it had, None where it isn't root's.

    Raises OSError where a system has no capabilities.
    """
    if os.geteuid() != 0:
        return None
    had = _capabilities("capget", [0] * 6)
    _capabilities("capset", [word & ~_DROPPED if place < sets else word for place, word in enumerate(had)])
    return had


def _capabilities(call: str, words: list[int]) -> list[int]:
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)  # 0: this thread
    data = (ctypes.c_uint32 * 6)(*words)  # effective, permitted, inheritable; and the same of higher capabilities
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), call)
    except AttributeError:
        raise OSError(f"the system has no {call}") from None
    if function(header, data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return list(data)
