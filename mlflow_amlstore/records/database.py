"""The SQLite database of an embedded workspace: opening it, transactions, and its errors as ours.

WAL journal with `synchronous=NORMAL`: a commit survives `kill -9` of any process (what a power cut may lose is the
last moments, never consistency: https://sqlite.org/wal.html). Writers queue on `BEGIN IMMEDIATE`, one connection per
process; readers have their own connections and never wait.
"""

import ctypes
import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from mlflow_amlstore.errors import (
    AmlStoreError,
    DiskFull,
    InvalidState,
    InvalidValue,
    ReadOnly,
    StorageFailed,
    WorkspaceBusy,
    WorkspaceCorrupt,
    WorkspaceNotFound,
)
from mlflow_amlstore.records.interruptible import interruptible
from mlflow_amlstore.records.locations import DATABASE_NAME

LOCK_TIMEOUT_S = 60.0

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA case_sensitive_like = ON",  # MLflow's LIKE is case-sensitive, ILIKE isn't
)


class _StateOnDisk(NamedTuple):
    """What changes when somebody writes the database."""

    has_wal: bool
    inode: int
    size_bytes: int
    modified_ns: int


def wall_clock_ms() -> int:
    """UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Database:
    """One process's connections to one workspace's database. Thread-safe; a forked child gets its own connections."""

    def __init__(
        self, folder: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        """Prepare to open `folder`/records.db; nothing is opened before the first transaction."""
        self.folder = folder
        self.now_ms = now_ms
        self.path = folder / DATABASE_NAME
        self._lock_timeout_s = lock_timeout_s
        self._start()
        _open_databases.add(self)

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._readers = _Readers()
        self._writer: Connection | None = None
        self._is_writing = self._is_open = False
        self._writing_thread: int | None = None
        self._written_file: tuple[int, int] | None = None
        self._frozen: _StateOnDisk | None = None
        self._engine = self._make_engine()

    def _make_engine(self) -> Engine:
        engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool, max_overflow=-1)

        @event.listens_for(engine, "connect")
        def note_state(_: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
            entry.info["frozen"] = self._frozen
            entry.info["file"] = self._file_on_disk()

        @event.listens_for(engine, "checkout")
        def replace_if_stale(_: sqlite3.Connection, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
            if entry.info["file"] != self._file_on_disk():
                raise DisconnectionError("the workspace was moved, deleted or made anew since")
            if entry.info["frozen"] is not None and entry.info["frozen"] != self._state_on_disk():
                raise DisconnectionError("somebody else has written since")  # the pool makes a new connection

        return engine

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise WorkspaceNotFound(str(self.folder))
        mode = "mode=rw" if os.access(self.path, os.W_OK) and os.access(self.folder, os.W_OK) else "mode=ro"
        self._frozen = None
        if mode == "mode=ro" and not (state := self._state_on_disk()).has_wal:
            # WAL wants to make a -shm file beside the database; here it can't, and needn't while nobody writes.
            mode, self._frozen = "immutable=1", state
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{mode}",
            uri=True,
            timeout=self._lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _state_on_disk(self) -> "_StateOnDisk":
        status = self.path.stat()
        has_wal = self.path.with_name(DATABASE_NAME + "-wal").exists()
        return _StateOnDisk(has_wal, status.st_ino, status.st_size, status.st_mtime_ns)

    @interruptible
    def read(self) -> Iterator[Connection]:
        """A connection on one unchanging state of the records, for the length of the block.

        Inside a write transaction of the same thread it is that one's, and sees what it has written.
        """
        if self._writing_thread == threading.get_ident() and self._writer is not None:
            with self.our_errors():
                yield self._writer
            return
        with self.our_errors(), self._readers.one_more(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @interruptible
    def write(self, *, wait: bool = True) -> Iterator[Connection]:
        """A connection in a write transaction: committed when the block ends, rolled back when it raises.

        Inside another block of the same thread it is a part of that one's transaction, and rolled back alone. Without
        `wait`, WorkspaceBusy is raised at once where anybody else is writing.
        """
        with self.our_errors(), self._lock if wait else self._lock_at_once():
            if self._writer is not None and self._is_in_transaction(self._writer):
                with _part_of_transaction(driver_connection(self._writer)):
                    yield self._writer
                return
            connection = self._writer
            if connection is None or connection.closed or self._written_file != self._file_on_disk():
                connection = self._writer = self._new_writer(connection)
            driver = driver_connection(connection)
            interrupted = self._is_writing, self._is_open, self._writing_thread  # where a signal's handler writes
            try:
                self._is_writing, self._is_open, self._writing_thread = True, False, threading.get_ident()
                self._begin(driver, wait)
                self._is_open = True
                yield connection
                _must_be_in_transaction(driver)
                self._is_open = False
                driver.commit()
            except BaseException:
                driver.rollback()
                raise
            finally:
                self._is_writing, self._is_open, self._writing_thread = interrupted
                if connection.in_transaction():
                    connection.rollback()  # SQLAlchemy's own note of the transaction; the driver's is over

    def _is_in_transaction(self, writer: Connection) -> bool:
        """Whether a write of this thread has begun and not ended, though SQLite may have given it up: not so where a
        signal's handler has come between, before its BEGIN or after its COMMIT."""
        return self._is_writing and (self._is_open or driver_connection(writer).in_transaction)

    @interruptible
    def _lock_at_once(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise WorkspaceBusy(str(self.folder), 0)
        try:
            yield
        finally:
            self._lock.release()

    @property
    def is_busy_here(self) -> bool:
        """Whether this thread is inside a write, for the end of which other threads' writes wait."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # as `Condition` asks; no own note is as sure

    def _begin(self, driver: sqlite3.Connection, wait: bool) -> None:
        if wait:
            driver.execute("BEGIN IMMEDIATE")
            return
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            driver.execute("BEGIN IMMEDIATE")
        finally:
            driver.execute(f"PRAGMA busy_timeout = {int(self._lock_timeout_s * 1000)}")

    @contextmanager
    def write_alone(self) -> Iterator[Connection]:
        """As `write`, for what changes files too: that can't be part of a transaction that may yet fail."""
        with self._lock:
            if self._is_writing:
                raise InvalidState("Files can't be changed inside a transaction, or by who interrupts one")
            with self.write() as connection:
                yield connection

    def _new_writer(self, old: Connection | None) -> Connection:
        if old is not None:
            old.close()
        new = self._engine.connect()
        self._written_file = self._file_on_disk()
        return new

    def _file_on_disk(self) -> tuple[int, int] | None:
        """Which file the path names now: not the one that is open, where the workspace was moved or made anew."""
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino

    def execute_outside_transaction(self, statement: str) -> None:
        """Run a statement, such as VACUUM, that SQLite refuses inside a transaction."""
        with self.our_errors(), self._readers.one_more(), self._engine.connect() as connection:
            driver_connection(connection).execute(statement)

    def close(self) -> None:
        """Close all connections. A later transaction would open new ones."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._engine.dispose()

    @contextmanager
    def our_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as ours; for statements on connections that aren't this class's, too."""
        try:
            yield
        except AmlStoreError:
            raise
        except UnicodeEncodeError as error:  # the driver's, for a lone surrogate
            raise InvalidValue("text", error.object, "must be valid Unicode") from error
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.Error):
                raise self._our_error(error.orig) from error
            raise
        except sqlite3.Error as error:
            raise self._our_error(error) from error

    def _our_error(self, error: sqlite3.Error) -> Exception:
        # By text, because Python 3.10 has no `sqlite_errorcode`; the texts are SQLite's own and don't change.
        text, folder = str(error), str(self.folder)
        if "disk is full" in text:
            return DiskFull(folder)
        if "readonly database" in text:
            return ReadOnly(folder)
        if "database is locked" in text:
            return WorkspaceBusy(folder, self._lock_timeout_s)
        if "malformed" in text or "not a database" in text:
            return WorkspaceCorrupt(folder, text)
        if isinstance(error, sqlite3.OperationalError) and ("disk I/O" in text or "unable to open" in text):
            return StorageFailed(folder, text)
        return error

    def _prepare_fork(self) -> None:
        """Wait for the transactions under way, let none begin, and close all connections, before this process forks.

        SQLite forbids a connection that crosses a fork (https://sqlite.org/howtocorrupt.html, 2.6), and what it knows
        of the parent's locks crosses too: a child forked during a transaction would find the database locked for ever.
        """
        self._lock.acquire()
        self._readers.shut_out()
        if not self._is_writing:
            self.close()

    def _continue_after_fork(self) -> None:
        """In the parent: go on; connections are opened again as they are needed."""
        self._readers.let_in()
        self._lock.release()

    def _start_anew_after_fork(self) -> None:
        """In the child: new locks, new connections.

        Where the fork came from inside a transaction its connection is still here, and must not even be collected.
        """
        for inherited in (self._engine, self._writer):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._start()


def _must_be_in_transaction(driver: sqlite3.Connection) -> None:
    """SQLite itself rolls all of it back on some errors (a full disk), which a caller may have caught in one part."""
    if not driver.in_transaction:
        raise sqlite3.OperationalError("disk I/O error: the transaction was given up")


@interruptible
def _part_of_transaction(driver: sqlite3.Connection) -> Iterator[None]:
    _must_be_in_transaction(driver)
    driver.execute("SAVEPOINT part")  # the innermost of this name is meant, where they are nested
    try:
        yield
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK TO part")
            driver.execute("RELEASE part")
        raise
    driver.execute("RELEASE part")


class _Readers:
    """Counts the threads that are reading, so that a fork can wait until there are none but its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # held by `with` itself, as `interruptible` asks
        self._changed = threading.Condition(self._lock)
        self._reading: dict[object, int] = {}  # the thread of each read
        self._is_shut = False

    @property
    def is_reading_here(self) -> bool:
        return threading.get_ident() in list(self._reading.values())

    @interruptible
    def one_more(self) -> Iterator[None]:
        read, thread = object(), threading.get_ident()
        try:
            with self._lock:
                while self._is_shut and not self.is_reading_here:
                    self._changed.wait()
                self._reading[read] = thread
            yield
        finally:
            with self._lock:
                self._reading.pop(read, None)
                if self._is_shut:
                    self._changed.notify_all()

    def shut_out(self) -> None:
        thread = threading.get_ident()
        with self._lock:
            self._is_shut = True
            while any(reader != thread for reader in self._reading.values()):
                self._changed.wait()

    def let_in(self) -> None:
        with self._lock:
            self._is_shut = False
            self._changed.notify_all()


def storage_error(folder: Path, error: OSError) -> AmlStoreError:
    """What the operating system refused in a workspace's folder, as our error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(str(folder))
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(str(folder))
    if error.errno == errno.ENOENT and not folder.exists():
        return WorkspaceNotFound(str(folder))
    return StorageFailed(str(folder), str(error))


def driver_connection(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for statements whose SQLAlchemy overhead a training loop would feel."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"expected an sqlite3 connection, got {type(driver).__name__}")
    return driver


_open_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()
_forking: dict[int, list[Database]] = {}  # by thread: two may fork at once


def _before_fork() -> None:
    prepared = _forking[threading.get_ident()] = []
    for database in sorted(_open_databases, key=id):  # in one order, so that two threads don't wait for each other
        database._prepare_fork()
        prepared.append(database)


def _after_fork_in_parent() -> None:
    for database in _forking.pop(threading.get_ident(), ()):
        database._continue_after_fork()


def _after_fork_in_child() -> None:
    for database in list(_open_databases):
        database._start_anew_after_fork()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
