"""SQLite's driver: connections, the write lock, the journal, and its errors as ours."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.dialects import sqlite

from mlflow_amlstore.errors import DiskFull, ReadOnly, StorageFailed, WorkspaceBusy, WorkspaceCorrupt
from mlflow_amlstore.records.dialects import ConstraintViolated
from mlflow_amlstore.records.locations import DATABASE_NAME

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA case_sensitive_like = ON",  # MLflow's LIKE is case-sensitive, ILIKE isn't
)
_OTHER_SCHEMA = ("no such table", "no such column", "already exists", "duplicate column")
_FIRST_BYTES = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html


class SqliteDriver(sqlite3.Connection):
    """A connection of the driver, which says how statements are written for it."""

    dialect = sqlite.dialect(paramstyle="qmark")


def is_database(path: Path) -> bool:
    """Whether a file is SQLite's or empty, or there is none. SQLite itself takes one of a few bytes for empty, too."""
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST_BYTES)) in (b"", _FIRST_BYTES)
    except OSError:
        return True  # SQLite says what is wrong with it


def connect(path: Path, mode: str, *, lock_timeout_s: float) -> SqliteDriver:
    """Open a database file; `mode` is `mode=rw`, `mode=ro` or `immutable=1`."""
    driver = sqlite3.connect(
        f"file:{quote(str(path))}?{mode}",
        uri=True,
        timeout=lock_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        factory=SqliteDriver,
        cached_statements=512,
    )
    try:
        for pragma in _PRAGMAS:
            driver.execute(pragma)
    except sqlite3.Error:
        driver.close()
        raise
    return driver


def begin_writing(driver: sqlite3.Connection, *, lock_timeout_s: float, wait: bool = True) -> None:
    """Begin a transaction that is the only one to write, when others have ended; without `wait`, now or never."""
    if wait:
        driver.execute("BEGIN IMMEDIATE")
        return
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        driver.execute("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(lock_timeout_s * 1000)}")


def use_write_ahead_log(path: Path, *, lock_timeout_s: float) -> None:
    """Set the journal mode, which stays with the file. SQLite doesn't wait for locks here, so we do."""
    deadline = time.monotonic() + lock_timeout_s
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=lock_timeout_s)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise WorkspaceBusy(str(path.parent), lock_timeout_s) from error
            time.sleep(0.005)


def our_error(error: sqlite3.Error, folder: Path, *, lock_timeout_s: float) -> Exception:
    """SQLite's error as ours, or as it is where it isn't one that we know."""
    # By text, because Python 3.10 has no `sqlite_errorcode`; the texts are SQLite's own and don't change.
    text, name = str(error), str(folder)
    if "disk is full" in text:
        return DiskFull(name)
    if "readonly database" in text:
        return ReadOnly(name)
    if "database is locked" in text:
        return WorkspaceBusy(name, lock_timeout_s)
    if "malformed" in text or "not a database" in text:
        return WorkspaceCorrupt(name, text)
    if isinstance(error, sqlite3.OperationalError):
        if any(part in text for part in _OTHER_SCHEMA):
            return WorkspaceCorrupt(name, f"records.db isn't what its schema says ({text})")
        path = folder / DATABASE_NAME
        if "unable to open" in text and path.exists() and not os.access(path, os.R_OK):
            return StorageFailed(name, f"this user may not read {path.name}", "Give this user permission to read it")
        if "disk I/O" in text or "unable to open" in text:
            return StorageFailed(name, text)
    return ConstraintViolated(text) if isinstance(error, sqlite3.IntegrityError) else error
