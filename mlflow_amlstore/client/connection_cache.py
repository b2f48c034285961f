"""What a process has one of for each thing of a workspace: a run's journal, a place's files."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from mlflow_amlstore.client.connection import Connection

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_KEPT = 1000


class ConnectionCache(Generic[K, V]):
    """Keeps the objects that were used last, and makes those that it doesn't have. A forked child starts with none.
    Safe across threads."""

    def __init__(self, make: Callable[[Connection, K], V]) -> None:
        self._make = make
        self._kept: OrderedDict[tuple[int, K], V] = OrderedDict()
        self.clear()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.clear)

    def clear(self) -> None:
        """Forget all; with a new lock, as another thread may have held it at a fork."""
        self._lock = threading.Lock()
        self._kept.clear()

    def of(self, connection: Connection, key: K) -> V:
        """The one object for a key of a workspace."""
        with self._lock:
            whole_key = (id(connection), key)  # a connection lives as long as its process
            found = self._kept.pop(whole_key, None)
            if found is None:
                found = self._make(connection, key)
            self._kept[whole_key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return found
