"""The SQLite database of an embedded workspace: transactions, and the connections that they need.

WAL journal with `synchronous=NORMAL`: a commit survives `kill -9` of any process (what a power cut may lose is the
last moments, never consistency: https://sqlite.org/wal.html). Writers queue on `BEGIN IMMEDIATE`, one connection per
process; readers have their own connections and never wait.
"""

import atexit
import ctypes
import math
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, cast

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mlflow_amlstore.errors import (
    AmlStoreError,
    InvalidState,
    InvalidValue,
    ReadOnly,
    WorkspaceBusy,
    WorkspaceCorrupt,
    WorkspaceNotFound,
    WorkspaceReplaced,
)
from mlflow_amlstore.records.interruptible import interruptible
from mlflow_amlstore.records.locations import DATABASE_NAME
from mlflow_amlstore.records.sqlite import SqliteDriver, begin_writing, connect, our_error

LOCK_TIMEOUT_S = 60.0
_KEPT_READERS = 16
_FORK_POLL_S = 0.001
_INDEX_CHECKED_EVERY_S = 1.0


class _StateOnDisk(NamedTuple):
    """What changes when somebody writes the database."""

    has_wal: bool
    inode: int
    size_bytes: int
    modified_ns: int


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names; None where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def wall_clock_ms() -> int:
    """UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class OpenedDatabase(NamedTuple):
    """A connection, and what it was opened on."""

    connection: Connection
    driver: sqlite3.Connection
    file: tuple[int, int] | None
    frozen: _StateOnDisk | None


class Database:
    """One process's connections to one workspace's database. Thread-safe; a forked child gets its own connections."""

    def __init__(
        self, folder: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        """Prepare to open `folder`/records.db; nothing is opened before the first transaction."""
        self.folder = folder
        self.now_ms = now_ms
        self.path = folder / DATABASE_NAME
        self._journal_path, self._index_path = (folder / f"{DATABASE_NAME}{end}" for end in ("-wal", "-shm"))
        self._lock_timeout_s = lock_timeout_s
        self._only: str | None = None
        self._start()
        _open_databases.add(self)

    def keep_to(self, workspace_id: str) -> None:
        """Raise WorkspaceReplaced from now on where the folder holds another workspace than this."""
        self._only = workspace_id

    def _start(self) -> None:
        self._lock = threading.RLock()  # held by the thread that writes
        self._holder: int | None = None  # that thread
        self._is_open = False  # from its BEGIN to its COMMIT
        self._writer: OpenedDatabase | None = None
        self._journal: tuple[int, int] | None = None  # the file that the writer's journal is
        self._index: tuple[int, int] | None = None  # the file that its index is, and when that was looked at
        self._index_checked_s = -math.inf
        self._gate = threading.RLock()  # held by a thread that forks: no other begins to read
        self._reading: dict[object, int] = {}  # the thread of each read
        self._idle: list[OpenedDatabase] = []  # not SQLAlchemy's pool, whose locks a signal's handler can leave held
        self._frozen: _StateOnDisk | None = None
        self._engine = self._make_engine()

    def _make_engine(self) -> Engine:
        engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)

        @event.listens_for(engine, "handle_error")
        def keep_open(context: ExceptionContext) -> None:
            context.is_disconnect = False  # SQLAlchemy would close the connection in whose call a handler raised

        return engine

    def _connect(self) -> SqliteDriver:
        if not self.path.exists():
            raise WorkspaceNotFound(str(self.folder))
        mode = "mode=rw" if os.access(self.path, os.W_OK) and os.access(self.folder, os.W_OK) else "mode=ro"
        self._frozen = None
        if mode == "mode=ro":
            # WAL wants to make a -shm file beside the database; here it can't, and needn't while nobody writes.
            state = self._state_on_disk()
            if not state.has_wal:
                mode, self._frozen = "immutable=1", state
            elif not self.path.with_name(f"{DATABASE_NAME}-shm").exists():
                raise ReadOnly(str(self.folder), "its last writes, in records.db-wal, must be brought in first")
        driver = connect(self.path, mode, lock_timeout_s=self._lock_timeout_s)
        if self._only is not None and _workspace_in(driver) != self._only:
            driver.close()
            raise WorkspaceReplaced(str(self.folder))
        return driver

    def _state_on_disk(self) -> "_StateOnDisk":
        status = self.path.stat()
        has_wal = self._journal_path.exists()
        return _StateOnDisk(has_wal, status.st_ino, status.st_size, status.st_mtime_ns)

    @interruptible
    def read(self) -> Iterator[Connection]:
        """A connection on one unchanging state of the records, for the length of the block.

        Inside a write transaction of the same thread it is that one's, and sees what it has written.
        """
        writer = self._writer_of_this_transaction()
        if writer is not None:
            with self.our_errors():
                yield writer.connection
            return
        with self.our_errors(), self._reader() as reader:
            reader.driver.execute("BEGIN")
            yield reader.connection

    @interruptible
    def _reader(self) -> Iterator[OpenedDatabase]:
        """A connection for this block alone, outside a transaction; a fork waits for the block's end."""
        read, idle = object(), self._idle  # a forked child has another list, and leaves the parent's connections alone
        try:
            self._let_in(read)
            reader = self._idle_reader() or self.open_apart()
            is_idle = False  # where the block raises: a statement may be under way that the traceback keeps
            try:
                yield reader
                is_idle = True
            except AmlStoreError:
                is_idle = True
                raise
            finally:
                reader.driver.rollback()
                if is_idle and len(idle) < _KEPT_READERS:
                    idle.append(reader)
        finally:
            self._reading.pop(read, None)

    def _let_in(self, read: object) -> None:
        thread = threading.get_ident()
        if thread in list(self._reading.values()):  # a fork waits for this thread already, which can't wait for it
            self._reading[read] = thread
            return
        with self._gate:
            self._reading[read] = thread

    def _idle_reader(self) -> OpenedDatabase | None:
        while self._idle:
            with suppress(IndexError):  # another thread took the last
                reader = self._idle.pop()
                if self.is_current(reader):
                    return reader
                reader.connection.close()
        return None

    @interruptible
    def write(self, *, wait: bool = True) -> Iterator[Connection]:
        """A connection in a write transaction: committed when the block ends, rolled back when it raises.

        Inside another block of the same thread it is a part of that one's transaction, and rolled back alone. So is the
        write of a signal's handler that interrupts the block. Without `wait`, WorkspaceBusy is raised at once where
        anybody else is writing.
        """
        thread = threading.get_ident()
        with self.our_errors(), self._lock if wait else self._lock_at_once():
            before, self._holder = self._holder, thread
            try:
                writer = self._writer_of_this_transaction()
                if writer is not None:
                    yield from self._part(writer)
                else:
                    yield from self._transaction(self._current_writer(), wait)
            finally:
                self._holder = before

    def _transaction(self, writer: OpenedDatabase, wait: bool) -> Iterator[Connection]:
        try:
            begin_writing(writer.driver, lock_timeout_s=self._lock_timeout_s, wait=wait)
            self._check_journal()
            self._is_open = True
            yield writer.connection
            _must_be_in_transaction(writer.driver)
            self._is_open = False
            writer.driver.commit()
        except BaseException as error:
            self._is_open = False
            writer.driver.rollback()
            if not isinstance(error, AmlStoreError):
                self._writer = None  # a statement may be under way, which the traceback keeps
            raise

    def _part(self, writer: OpenedDatabase) -> Iterator[Connection]:
        _must_be_in_transaction(writer.driver)
        try:
            writer.driver.execute("SAVEPOINT part")  # the innermost of this name is meant, where they are nested
            yield writer.connection
        except BaseException:
            if writer.driver.in_transaction:
                writer.driver.execute("ROLLBACK TO part")
                writer.driver.execute("RELEASE part")
            raise
        writer.driver.execute("RELEASE part")

    @interruptible
    def _lock_at_once(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):  # not by `with`: a service asks for this, whose handlers don't raise
            raise WorkspaceBusy(str(self.folder), 0)
        try:
            yield
        finally:
            self._lock.release()

    def _writer_of_this_transaction(self) -> OpenedDatabase | None:
        """What writes where this thread is inside a transaction, though SQLite may have given that up; else None.

        A signal's handler may come just after the BEGIN, or just before the COMMIT: SQLite knows of it then.
        """
        writer = self._writer
        if writer is None or not self.is_busy_here:
            return None
        return writer if self._is_open or writer.driver.in_transaction else None

    @property
    def is_busy_here(self) -> bool:
        """Whether this thread is inside a write, for the end of which other threads' writes wait."""
        return self._holder == threading.get_ident()

    @interruptible
    def write_alone(self) -> Iterator[Connection]:
        """As `write`, for what changes files too: that can't be part of a transaction that may yet fail."""
        with self._lock:
            if self._holder is not None:
                raise InvalidState("Files can't be changed inside a transaction, or by who interrupts one")
            with self.write() as connection:
                yield connection

    def _current_writer(self) -> OpenedDatabase:
        writer = self._writer
        if writer is None or not self.is_current(writer):
            if writer is not None:
                self._writer = None  # before it is closed, and where there is none to open any more
                writer.connection.close()
            writer = self._writer = self.open_apart()
            self._journal = self._index = None
        return writer

    def _check_journal(self) -> None:
        """Raise WorkspaceCorrupt where somebody deleted or replaced the journal while it is open.

        SQLite keeps the file for as long as a process has it open. What is written into a file without a name is lost
        if that process is killed.
        """
        journal = _identity(self._journal_path)
        if self._journal is None:
            self._journal = journal
        elif self._journal != journal:
            raise self._journal_lost(self._journal_path)
        now = time.monotonic()
        if now - self._index_checked_s < _INDEX_CHECKED_EVERY_S:
            return
        self._index_checked_s, index = now, _identity(self._index_path)
        if self._index is None:
            self._index = index
        elif self._index != index:
            raise self._journal_lost(self._index_path)

    def _journal_lost(self, path: Path) -> WorkspaceCorrupt:
        self._index_checked_s = -math.inf  # the next write is refused, too
        way_out = (
            "Stop the processes that have it open: SQLite brings in what they wrote as the last one ends. Then run "
            "`amlstore doctor --deep`"
        )
        return WorkspaceCorrupt(str(self.folder), f"{path.name} was deleted or replaced", way_out)

    def open_apart(self) -> OpenedDatabase:
        """Open a connection that no transaction of this class uses; the caller closes it."""
        connection = self._engine.connect()
        return OpenedDatabase(connection, driver_connection(connection), self._file_on_disk(), self._frozen)

    def is_current(self, opened: OpenedDatabase) -> bool:
        """Not so where the workspace was moved, deleted or made anew since, or somebody wrote to a read-only one."""
        return opened.file == self._file_on_disk() and (opened.frozen is None or opened.frozen == self._state_on_disk())

    def _file_on_disk(self) -> tuple[int, int] | None:
        """Which file the path names now: not the one that is open, where the workspace was moved or made anew."""
        return _identity(self.path)

    def compact(self) -> None:
        """Give room that is no longer needed back to the disk."""
        with self.our_errors(), self._reader() as reader:
            reader.driver.execute("VACUUM")  # which SQLite refuses inside a transaction

    def close(self) -> None:
        """Close all connections. A later transaction would open new ones."""
        with self._lock:
            if self._writer is not None:
                self._writer.connection.close()
                self._writer = None
            self._close_idle()

    def close_at_exit(self) -> None:
        """Close all connections, unless another thread writes just now: the process doesn't wait for it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._holder is None:
                with suppress(DBAPIError, sqlite3.Error):
                    self.close()
        finally:
            self._lock.release()

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for reader in idle:
            reader.connection.close()

    @contextmanager
    def our_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as ours; for statements on connections that aren't this class's, too."""
        try:
            yield
        except AmlStoreError:
            raise
        except UnicodeEncodeError as error:  # the driver's, for a lone surrogate
            raise InvalidValue("text", error.object, "must be valid Unicode") from error
        except OverflowError as error:  # the driver's, which doesn't say which number
            raise InvalidValue("number", "one over 64 bits", "must be from -2⁶³ to 2⁶³ - 1") from error
        except (DBAPIError, sqlite3.Error) as error:
            of_driver = error.orig if isinstance(error, DBAPIError) else error
            if not isinstance(of_driver, sqlite3.Error):
                raise
            raise our_error(of_driver, self.folder, lock_timeout_s=self._lock_timeout_s) from error

    def _prepare_fork(self) -> None:
        """Wait for the transactions under way, let none begin, and close all connections, before this process forks.

        SQLite forbids a connection that crosses a fork (https://sqlite.org/howtocorrupt.html, 2.6), and what it knows
        of the parent's locks crosses too: a child forked during a transaction would find the database locked for ever.
        """
        self._lock.acquire()
        self._gate.acquire()
        while any(thread != threading.get_ident() for thread in list(self._reading.values())):
            time.sleep(_FORK_POLL_S)
        if self._holder is None:
            self.close()
        self._close_idle()

    def _continue_after_fork(self) -> None:
        """In the parent: go on; connections are opened again as they are needed."""
        self._gate.release()
        self._lock.release()

    def _start_anew_after_fork(self) -> None:
        """In the child: new locks, new connections.

        Where the fork came from inside a transaction its connection is still here, and must not even be collected.
        """
        for inherited in (self._idle, self._writer):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._start()


def _workspace_in(driver: SqliteDriver) -> str | None:
    """The id of a database's workspace, None where it is another kind of database."""
    with suppress(sqlite3.Error):
        row = driver.execute("SELECT workspace_id FROM workspace").fetchone()
        return None if row is None else str(row[0])
    return None


def _must_be_in_transaction(driver: sqlite3.Connection) -> None:
    """SQLite itself rolls all of it back on some errors (a full disk), which a caller may have caught in one part."""
    if not driver.in_transaction:
        raise sqlite3.OperationalError("disk I/O error: the transaction was given up")


def driver_connection(connection: Connection) -> SqliteDriver:
    """The driver's own connection, for statements whose SQLAlchemy overhead a training loop would feel."""
    driver = connection.connection.driver_connection
    if not hasattr(driver, "dialect"):
        raise TypeError(f"expected a driver's connection that knows its dialect, got {type(driver).__name__}")
    return cast(SqliteDriver, driver)


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


def _close_all() -> None:
    """As a process ends, close what nobody has closed: SQLite then brings the journal in, even one without a name."""
    for database in list(_open_databases):
        database.close_at_exit()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
