"""The record stores that the contract is for: each is a fixture `NAME_records`, and its NAME a param of `records`."""

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import add_first_rows, create_database, run_migrations
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.tables import metadata


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> int:
        """Move on, and return the time that it is then."""
        self.now_ms += ms
        return self.now_ms


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty workspace to copy, which is faster than making one."""
    folder = tmp_path_factory.mktemp("empty")
    database = Database(folder, now_ms=Clock())
    create_database(database)
    database.close()
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sqlite_records(empty_folder: Path, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
    folder = shutil.copytree(empty_folder, tmp_path / "workspace")
    store = RecordStore(Database(folder, now_ms=clock))
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, Clock], Any]]:
    """Gives the database of an empty workspace in a PostgreSQL of the tests' own."""
    pytest.importorskip("psycopg", reason="PostgreSQL's driver isn't installed")
    module = importlib.import_module("postgresql")
    try:
        server = module.Server()
    except FileNotFoundError as error:
        pytest.skip(str(error))

    def empty(folder: Path, clock: Clock) -> Any:
        database = module.PostgresDatabase(server, folder, clock)
        with database.write() as connection:
            names = ", ".join(metadata.tables)
            connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
            add_first_rows(connection, clock())
        return database

    try:
        database = module.PostgresDatabase(server, Path(), Clock())
        with database.write() as connection:
            run_migrations(connection)
        database.close()
        yield empty
    finally:
        server.stop()


@pytest.fixture
def postgresql_records(postgresql: Any, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
    store = RecordStore(postgresql(tmp_path, clock))
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest) -> RecordStore:
    """An empty record store on the test's clock."""
    store: RecordStore = request.getfixturevalue(f"{request.param}_records")
    return store


@pytest.fixture(scope="module")
def shared_records(empty_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordStore]:
    """A record store for many generated examples, each with a run of its own."""
    store = RecordStore(Database(shutil.copytree(empty_folder, tmp_path_factory.mktemp("shared") / "workspace")))
    yield store
    store.close()


@pytest.fixture
def run_id(records: RecordStore) -> str:
    """A running run of the experiment Default."""
    return records.runs.create("0", run_id="run").info.run_id
