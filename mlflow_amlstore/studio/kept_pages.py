"""Pages that are kept while nothing is written: ten people who look at one table ask the records once.

So they do while it is written, where their pages ask at the same time (`static/live.js`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from mlflow_amlstore.records.store import RecordStore

_MOST_KEPT = 64  # per workspace
T = TypeVar("T")


class _Kept:
    """What was made at a version of the workspace. Whoever asks while it is made waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._made: object = None

    def at(self, version: int, make: Callable[[], object], at_least: int) -> object:
        with self._lock:
            if self._version < at_least:
                self._made, self._version = make(), version
            return self._made


_kept: "WeakKeyDictionary[RecordStore, OrderedDict[Hashable, _Kept]]" = WeakKeyDictionary()
_finding = threading.Lock()


def kept(records: RecordStore, key: Hashable, version: int, make: Callable[[], T], *, at_least: int | None = None) -> T:
    """What `make` gave for this key at this version of the workspace, or a later one; else it is called.

    With `at_least` what it gave at that earlier version will do, too.

    Versions only grow. The caller reads the version (`live.version_of`) before anything else: what is made then may be
    newer than its version says, and is made again, but never older.
    """
    with _finding:
        of_workspace = _kept.setdefault(records, OrderedDict())
        found = of_workspace.setdefault(key, _Kept())
        of_workspace.move_to_end(key)
        while len(of_workspace) > _MOST_KEPT:
            of_workspace.popitem(last=False)
    return cast(T, found.at(version, make, version if at_least is None else at_least))
