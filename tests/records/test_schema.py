"""Making a workspace's database and bringing it up to date."""

import math
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mlflow_amlstore.errors import SchemaTooNew, StorageFailed, WorkspaceCorrupt, WorkspaceNotFound
from mlflow_amlstore.records import schema, tables
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import CURRENT_REVISION, create_database, run_migrations, upgrade_database
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import MetricKind, MetricRecord


def _execute(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        connection.executescript(script)


def _query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        return connection.execute(statement).fetchall()


def test_a_new_database_has_the_current_schema_the_default_experiment_and_a_write_ahead_log(tmp_path: Path) -> None:
    create_database(Database(tmp_path, now_ms=lambda: 123))

    assert _query(tmp_path, "SELECT version_num FROM alembic_version") == [(CURRENT_REVISION,)]
    assert _query(tmp_path, "SELECT experiment_id, name, created_ms FROM experiments") == [(0, "Default", 123)]
    assert _query(tmp_path, "PRAGMA journal_mode") == [("wal",)]


def test_the_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    _execute(tmp_path, "PRAGMA journal_mode = WAL")
    database = Database(tmp_path)
    with database.write() as connection:
        run_migrations(connection)

        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_a_workspace_of_the_first_schema_is_brought_up_to_date_with_its_files(tmp_path: Path) -> None:
    _execute(tmp_path, "PRAGMA journal_mode = WAL")
    database = Database(tmp_path)
    with database.write() as connection:
        run_migrations(connection, "0001")
    _execute(tmp_path, "INSERT INTO workspace VALUES ('w', 1)")
    _execute(tmp_path, f"INSERT INTO files VALUES ('0/run/artifacts', 'a.txt', 1, '{'0' * 64}', 'text/plain', 5)")

    upgrade_database(database)

    assert _query(tmp_path, "SELECT version_num FROM alembic_version") == [(CURRENT_REVISION,)]
    assert _query(tmp_path, "SELECT path, modified_ms, md5 FROM files") == [("a.txt", 5, None)]
    assert _query(tmp_path, "SELECT count(*) FROM keys") == [(0,)]


def test_lists_of_the_second_schema_go_on_where_they_ended(tmp_path: Path) -> None:
    _execute(tmp_path, "PRAGMA journal_mode = WAL")
    database = Database(tmp_path)
    with database.write() as connection:
        run_migrations(connection, "0002")
    _execute(
        tmp_path,
        """
        INSERT INTO workspace VALUES ('w', 1);
        INSERT INTO experiments (experiment_id, name, created_ms, updated_ms) VALUES (0, 'Default', 1, 1);
        INSERT INTO runs (run_pk, run_id, experiment_id, name, status, user_id, created_ms)
        VALUES (1, 'run', 0, 'run', 'Running', '', 1);
        INSERT INTO series VALUES (1, 'l', 'l', '', 'list', 1, 5, 8.0, 0, 1);
        INSERT INTO points VALUES (1, 0, 5, 7.0, 0, 1, NULL), (1, 1, 5, 8.0, 0, 2, NULL);
        """,
    )

    upgrade_database(database)
    records = RecordStore(database)
    records.metrics.log_values("run", [("l", MetricKind.LIST, {"": [9.0]}, None, 6)])

    assert records.metrics.list_metrics("run") == [MetricRecord("l", MetricKind.LIST, {"": [7.0, 8.0, 9.0]})]
    assert [point.step for point in records.metrics.history("run", "l").items] == [0, 1, 2]


def test_extremes_are_filled_in_from_the_points_and_it_is_told_how_far_that_has_come(tmp_path: Path) -> None:
    _execute(tmp_path, "PRAGMA journal_mode = WAL")
    database = Database(tmp_path)
    with database.write() as connection:
        run_migrations(connection, "0004")
    _execute(
        tmp_path,
        """
        INSERT INTO workspace VALUES ('w', 1);
        INSERT INTO experiments (experiment_id, name, created_ms, updated_ms) VALUES (0, 'Default', 1, 1);
        INSERT INTO runs (run_pk, run_id, experiment_id, name, status, user_id, created_ms)
        VALUES (1, 'run', 0, 'run', 'Running', '', 1);
        INSERT INTO series VALUES
        (1, 'numbers', 'numbers', '', 'scalar', 3, 5, 8.0, 0, 1, 0),
        (1, 'nan', 'nan', '', 'scalar', 0, 5, 0.0, 1, 2, 0),
        (1, 'infinite', 'infinite', '', 'list', 1, 5, 1.0, 0, 250, 2);
        INSERT INTO points VALUES
        (1, 0, 5, 7.0, 0, 0, NULL), (1, 1, 5, -9.0, 0, 0, NULL), (1, 2, 5, 0.0, 1, 0, NULL), (1, 3, 5, 8.0, 0, 0, NULL),
        (2, 0, 5, 0.0, 1, 0, NULL), (250, 0, 5, -9e999, 0, 1, NULL), (250, 1, 5, 1.0, 0, 2, NULL);
        """,
    )

    told: list[tuple[int, int]] = []
    with database.write() as connection:
        run_migrations(connection, tell=lambda done, total: told.append((done, total)))

    assert told == [(100, 250), (200, 250), (250, 250)]
    kept = "name, min_value, max_value, extremes_step, extremes_timestamp_ms, extremes_seq"
    assert _query(tmp_path, f"SELECT {kept} FROM series ORDER BY series_id") == [
        ("numbers", -9.0, 8.0, 3, 5, 0),
        ("nan", None, None, 0, 5, 0),
        ("infinite", -math.inf, 1.0, 1, 5, 2),
    ]


def test_creating_twice_changes_nothing(tmp_path: Path) -> None:
    create_database(Database(tmp_path))
    before = _query(tmp_path, "SELECT * FROM workspace")

    create_database(Database(tmp_path))

    assert _query(tmp_path, "SELECT * FROM workspace") == before


@pytest.mark.parametrize("made_so_far", ["", "PRAGMA journal_mode = WAL"], ids=["nothing yet", "the journal mode set"])
def test_a_database_that_a_killed_process_left_unmade_is_finished_by_creating_and_refused_by_upgrading(
    tmp_path: Path, made_so_far: str
) -> None:
    _execute(tmp_path, made_so_far)

    with pytest.raises(WorkspaceCorrupt, match=r"records\.db is empty\. .* run `amlstore init` again"):
        upgrade_database(Database(tmp_path))
    create_database(Database(tmp_path))

    assert _query(tmp_path, "SELECT name FROM experiments") == [("Default",)]


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ("CREATE TABLE cookies (name)", WorkspaceCorrupt, "records.db is a database of another program"),
        ("CREATE VIEW cookies AS SELECT 1 AS name", WorkspaceCorrupt, "records.db is a database of another program"),
        (
            "CREATE TABLE alembic_version (version_num); CREATE TABLE workspace (workspace_id);"
            "INSERT INTO alembic_version VALUES ('c48cb773bb87')",
            WorkspaceCorrupt,
            "records.db is a database of another program",
        ),
        (
            "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('c48cb773bb87')",
            WorkspaceCorrupt,
            "records.db is a database of another program",
        ),
        (
            "CREATE TABLE alembic_version (version_num); CREATE TABLE workspace (workspace_id)",
            WorkspaceCorrupt,
            "records.db doesn't say which schema it has",
        ),
        (
            "CREATE TABLE alembic_version (version_num); CREATE TABLE workspace (workspace_id);"
            "INSERT INTO alembic_version VALUES ('9999')",
            SchemaTooNew,
            "has schema 9999, which is newer than the 0006 that this release knows",
        ),
    ],
)
def test_what_isnt_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, script: str, error: type[Exception], text: str
) -> None:
    _execute(tmp_path, script)
    before = (tmp_path / "records.db").read_bytes()

    for call in (create_database, upgrade_database):
        database = Database(tmp_path)
        with pytest.raises(error, match=text):
            call(database)
        database.close()

    assert (tmp_path / "records.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"not a database at all" * 100])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "records.db").write_bytes(content)

    for call in (create_database, upgrade_database):
        with pytest.raises(WorkspaceCorrupt, match=r"not a database.*Restore records\.db from a copy"):
            call(Database(tmp_path))

    assert (tmp_path / "records.db").read_bytes() == content


def test_whoever_opens_a_database_while_it_is_made_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_BEING_MADE_S", 60.0)
    _execute(tmp_path, "PRAGMA journal_mode = WAL")
    making = threading.Timer(0.1, create_database, [Database(tmp_path)])
    making.start()
    upgrade_database(Database(tmp_path))
    assert _query(tmp_path, "SELECT name FROM experiments") == [("Default",)]
    making.join()


def test_upgrading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound, match=r"No workspace in .*\. Make one with `amlstore init"):
        upgrade_database(Database(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()

    with pytest.raises(StorageFailed, match=r"unable to open database file\. Check the disk it is on"):
        create_database(Database(tmp_path))
