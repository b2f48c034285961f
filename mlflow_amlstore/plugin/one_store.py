"""One tracking store for each workspace of a process, because queued asynchronous logging must find its store again."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")
S = TypeVar("S")


class OneStoreEach(Generic[W, S]):
    """Makes a workspace's store when it is first asked for, and returns that one from then on. Safe across fork."""

    def __init__(self, make: Callable[[W], S]) -> None:
        self._make = make
        self._stores: dict[int, tuple[W, S]] = {}  # with the workspace, so that its `id` is nobody else's
        self._make_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._make_lock)

    def _make_lock(self) -> None:
        """Anew in a forked child: another thread of the parent may have held the lock at the fork."""
        self._lock = threading.Lock()

    def of(self, workspace: W) -> S:
        """The store of a workspace, by identity: one that was closed and opened again is another."""
        with self._lock:
            known = self._stores.get(id(workspace))
            if known is None:
                known = self._stores[id(workspace)] = workspace, self._make(workspace)
            return known[1]
