"""Whoever changes records: this machine's user, unless a service says that somebody else asked for it."""

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def this_user() -> str:
    """The name of the user that this process runs as; the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else ""


_who: ContextVar[Callable[[], str]] = ContextVar("who acts", default=this_user)


@contextmanager
def acting_for(who: Callable[[], str]) -> Iterator[None]:
    """What is changed in the block, on this thread, is changed by `who()`, which is called where an act is kept."""
    token = _who.set(who)
    try:
        yield
    finally:
        _who.reset(token)


def who_acts() -> str:
    """The name of whoever changes something now."""
    return _who.get()()
