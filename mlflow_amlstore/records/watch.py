"""Noticing that a workspace's records were written, by whichever process."""

import os
import threading
import weakref

from mlflow_amlstore.records.database import Database, OpenedDatabase


class Watch:
    """Tells whether anything was committed to a workspace's database since it was last asked.

    SQLite counts the commits of all other connections for each connection (https://sqlite.org/pragma.html,
    data_version). Asking takes some microseconds and reads no page. A watch has a connection of its own, so that
    everybody's commits are of another. Safe across threads and forks.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._opened: OpenedDatabase | None = None
        self._seen: int | None = None
        self._version = 0
        _open_watches.add(self)

    def version(self) -> int:
        """Return a number that is another one after every commit.

        It may change for other reasons, too: where the database was moved, or after a fork. Raises WorkspaceNotFound
        where the folder has none any more.
        """
        with self._lock, self._database.our_errors():
            opened = self._opened
            if opened is None or not self._database.is_current(opened):
                self._close()
                opened = self._opened = self._database.open_apart()
            (seen,) = opened.driver.execute("PRAGMA data_version").fetchone()
            if seen != self._seen:
                self._seen = seen
                self._version += 1
            return self._version

    def close(self) -> None:
        """Close its connection. Asked again, it would open another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        opened, self._opened, self._seen = self._opened, None, None
        if opened is not None:
            opened.connection.close()

    def _prepare_fork(self) -> None:
        """SQLite forbids a connection that crosses a fork (`database.Database`)."""
        self._lock.acquire()
        self._close()

    def _continue_after_fork(self) -> None:
        self._lock.release()


_open_watches: "weakref.WeakSet[Watch]" = weakref.WeakSet()
_forking: dict[int, list[Watch]] = {}  # by thread: two may fork at once


def _before_fork() -> None:
    prepared = _forking[threading.get_ident()] = sorted(_open_watches, key=id)
    for watch in prepared:
        watch._prepare_fork()


def _after_fork() -> None:
    for watch in _forking.pop(threading.get_ident(), ()):
        watch._continue_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
