"""A PostgreSQL of the tests' own, and as much of a database as the record store's statements need to run on it.

The package has no PostgreSQL store yet. This shows that its statements, constraints and row locks need no other.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.dialects import ConstraintViolated

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))


class Server:
    """A PostgreSQL that keeps its data in a folder of its own and answers on a socket in it."""

    def __init__(self) -> None:
        if not _BINARIES:
            raise FileNotFoundError("PostgreSQL isn't installed")
        self._binaries = _BINARIES[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="amlstore-postgresql-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            self._user = {"user": "nobody", "group": None, "extra_groups": []}
            shutil.chown(self._folder, "nobody")
        initdb = [self._binaries / "initdb", "-D", self._folder / "data", "-U", "tests", "-A", "trust", "-N"]
        # Of a language's order, not the bytes': the schema has to ask for these itself.
        self._run(*initdb, "-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en")
        options = ["listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "full_page_writes=off"]
        command = [self._binaries / "postgres", "-D", self._folder / "data", *[f"-c{option}" for option in options]]
        self._process = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **self._user)
        self._wait_until_it_answers()
        with self.connect("postgres") as connection:
            connection.autocommit = True
            connection.execute("CREATE DATABASE records")

    def _wait_until_it_answers(self) -> None:
        while self._process.poll() is None:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise ChildProcessError(f"PostgreSQL ended with {self._process.returncode}")

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **self._user)

    def connect(self, name: str = "records") -> "PostgresDriver":
        """Connect to a database."""
        return PostgresDriver.connect(host=str(self._folder), user="tests", dbname=name)

    def stop(self) -> None:
        """End it, and remove what it kept."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        shutil.rmtree(self._folder)


class PostgresDriver(psycopg.Connection[Any]):
    """The driver's connection, with what `DriverStatement` asks of one."""

    dialect = postgresql.dialect(paramstyle="format")

    def execute(self, query: Any, params: Any = (), **options: Any) -> Any:
        """Run a statement."""
        return super().execute(query, params, **options)

    def executemany(self, query: Any, rows: Sequence[Sequence[Any]]) -> Any:
        """Run a statement for each row of values."""
        cursor = self.cursor()
        cursor.executemany(query, rows)
        return cursor


class PostgresDatabase:
    """Transactions: reads of one state of the records; writes side by side, parts of them in savepoints."""

    def __init__(self, server: Server, folder: Path, now_ms: Callable[[], int]) -> None:
        self.folder, self.now_ms = folder, now_ms
        self.engine: Engine = create_engine("postgresql+psycopg://", creator=server.connect, max_overflow=-1)
        self._here = threading.local()
        self.is_busy_here = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection on one unchanging state, or that of the write that this thread is in."""
        writing: Connection | None = getattr(self._here, "writing", None)
        if writing is not None:
            yield writing
            return
        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            yield connection

    @contextmanager
    def write(self, *, wait: bool = True) -> Iterator[Connection]:
        """A connection in a transaction; inside another of this thread, in a part of that one."""
        writing: Connection | None = getattr(self._here, "writing", None)
        with self._our_errors():
            if writing is not None:
                with writing.begin_nested():
                    yield writing
                return
            with self.engine.begin() as connection:
                self._here.writing = connection
                try:
                    yield connection
                finally:
                    self._here.writing = None

    @contextmanager
    def write_alone(self) -> Iterator[Connection]:
        """As `write`, for what changes files too."""
        if getattr(self._here, "writing", None) is not None:
            raise InvalidState("Files can't be changed inside a transaction")
        with self.write() as connection:
            yield connection

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            of_driver = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(of_driver, psycopg.IntegrityError):
                raise ConstraintViolated(str(of_driver)) from error
            raise

    def compact(self) -> None:
        """PostgreSQL does so by itself."""

    def close(self) -> None:
        """Release connections."""
        self.engine.dispose()
