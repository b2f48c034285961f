"""Migrations only add, so that a process of the version before goes on beside a newer one, and they survive a kill."""

import fcntl
import hashlib
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from earlier_code import Code, CodeProcess
from sqlalchemy import Connection, Inspector, create_engine, inspect

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.folder import open_records
from mlflow_amlstore.records.schema import CURRENT_REVISION, create_database, run_migrations, upgrade_database

from .conftest import Kept
from .test_kept_workspaces import REVISIONS

Schema = dict[str, str]


def schema_of(connection: Connection) -> Schema:
    """Each table, column, key, constraint and index, and how it is."""
    inspector = inspect(connection)
    return dict(fact for table in inspector.get_table_names() for fact in _facts(inspector, table))


def _facts(inspector: Inspector, table: str) -> Iterator[tuple[str, str]]:
    yield f"table {table}", ""
    for column in inspector.get_columns(table):
        needed = " that a row must give" if not column["nullable"] and column["default"] is None else ""
        yield f"column {table}.{column['name']}", f"{column['type']}{needed}"
    for name, found in (
        ("primary key", [inspector.get_pk_constraint(table)]),
        ("unique constraint", inspector.get_unique_constraints(table)),
        ("foreign key", inspector.get_foreign_keys(table)),
        ("check", inspector.get_check_constraints(table)),
    ):
        for constraint in found:
            yield f"{name} {table}.{constraint['name']}", str(sorted(constraint.items()))
    for index in inspector.get_indexes(table):
        kind = "unique index" if index["unique"] else "index"
        yield f"{kind} {table}.{index['name']}", str(index["column_names"])


def harm(before: Schema, after: Schema) -> list[str]:
    """What of a schema a later one takes from a process that knows the earlier alone."""
    gone = [f"{fact} is gone" for fact in before if fact not in after]
    changed = [
        f"{fact} was {before[fact]}, is {after[fact]}"
        for fact in before
        if after.get(fact, before[fact]) != before[fact]
    ]
    added = [fact for fact in after if fact not in before and f"table {fact.split(' ')[-1].split('.')[0]}" in before]
    stricter = [
        f"{fact} {after[fact]} is new"
        for fact in added
        if not fact.startswith(("column", "index")) or after[fact].endswith("must give")
    ]
    return gone + changed + stricter


@pytest.fixture
def schemas(tmp_path: Path) -> dict[str, Schema]:
    """The schema after each of today's migrations."""
    found = {}
    (tmp_path / "records.db").touch()
    database = Database(tmp_path)
    for revision in REVISIONS:
        with database.write() as connection:
            run_migrations(connection, revision)
            found[revision] = schema_of(connection)
    database.close()
    return found


def test_a_new_workspace_has_the_schema_that_the_migrations_lead_to(schemas: dict[str, Schema], tmp_path: Path) -> None:
    """It is made from its tables, without the migrations."""
    made, migrated = Database(tmp_path / "new"), Database(tmp_path)
    create_database(made)
    with made.read() as of_made, migrated.read() as of_migrated:
        assert schema_of(of_made) == schemas[CURRENT_REVISION]
        for word in ("WITHOUT ROWID", "AUTOINCREMENT", "CHECK", "DEFAULT"):
            which = f"SELECT name FROM sqlite_master WHERE sql LIKE '%{word}%' ORDER BY name"
            declared = of_made.exec_driver_sql(which).all()
            assert declared == of_migrated.exec_driver_sql(which).all() != []
    made.close()
    migrated.close()


def test_each_migration_only_adds(schemas: dict[str, Schema]) -> None:
    for number, revision in enumerate(REVISIONS[1:]):
        assert harm(schemas[REVISIONS[number]], schemas[revision]) == [], revision


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_is_as_it_was_when_workspaces_were_made_by_it(
    revision: str, schemas: dict[str, Schema], unpack: Callable[[str, Path], Kept], tmp_path: Path
) -> None:
    kept = unpack(revision, tmp_path / "kept")
    with create_engine(f"sqlite:///{kept.folder}/records.db").connect() as connection:
        assert schema_of(connection) == schemas[revision]


@pytest.mark.parametrize(
    ("migration", "found"),
    [
        ("CREATE TABLE more (id INTEGER PRIMARY KEY)", []),
        ("ALTER TABLE runs ADD COLUMN more TEXT", []),
        ("ALTER TABLE runs ADD COLUMN more TEXT NOT NULL DEFAULT ''", []),
        ("CREATE INDEX more ON runs (status)", []),
        ("DROP TABLE runs", ["table runs is gone", "column runs.id is gone", "column runs.status is gone"]),
        ("ALTER TABLE runs DROP COLUMN status", ["column runs.status is gone"]),
        ("ALTER TABLE runs RENAME COLUMN status TO state", ["column runs.status is gone"]),
        ("DROP INDEX by_name", ["index tags.by_name is gone"]),
        (
            "DROP TABLE runs; CREATE TABLE runs (id INTEGER, status INTEGER)",
            ["column runs.status was TEXT, is INTEGER"],
        ),
        ("CREATE UNIQUE INDEX more ON tags (name)", ["unique index tags.more ['name'] is new"]),
        (
            "DROP TABLE runs; CREATE TABLE runs (id INTEGER, status TEXT, more TEXT NOT NULL)",
            ["column runs.more TEXT that a row must give is new"],
        ),
    ],
)
def test_what_takes_something_away_would_be_found(tmp_path: Path, migration: str, found: list[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as driver:
        driver.executescript("CREATE TABLE runs (id INTEGER, status TEXT); CREATE TABLE tags (name TEXT)")
        driver.executescript("CREATE INDEX by_name ON tags (name)")
        with create_engine(f"sqlite:///{tmp_path}/a.db").connect() as connection:
            before = schema_of(connection)
        driver.executescript(migration)
    with create_engine(f"sqlite:///{tmp_path}/a.db").connect() as connection:
        assert [fact for fact in harm(before, schema_of(connection)) if "primary key" not in fact] == found


# A child upgrades a copy of the workspace, and is killed: after its first statement, its second, …, until one isn't
# killed; then at random moments.
UPGRADED_AND_KILLED = """
import itertools, os, pathlib, random, shutil, signal, sys, time
import alembic.command, alembic.config  # what the children would import
from sqlalchemy import Engine, event
from mlflow_amlstore.records.folder import open_records

kept, copies, kills = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])

def upgrade(copy, last_statement):
    if last_statement:
        statements = itertools.count(1)
        @event.listens_for(Engine, "after_cursor_execute")
        def be_killed(*_):
            if next(statements) == last_statement:
                os.kill(os.getpid(), signal.SIGKILL)
    open_records(copy).close()
    os._exit(0)

def was_killed(name, last_statement=0, after_s=None):
    copy = copies / name
    shutil.copytree(kept, copy)
    child = os.fork()
    if child == 0:
        upgrade(copy, last_statement)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL

began = time.monotonic()
assert not was_killed("whole")
took_s = time.monotonic() - began
for number in itertools.count(1):
    if not was_killed(f"statement {number}", number):
        break
for number in range(kills):
    was_killed(f"moment {number}", after_s=random.uniform(0, took_s))
"""
KILLS_AT_RANDOM = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes that are killed are forked")
def test_killed_at_any_statement_it_leaves_the_workspace_as_it_was_or_upgraded(
    unpack: Callable[[str, Path], Kept], tmp_path: Path
) -> None:
    kept = unpack(REVISIONS[0], tmp_path / "kept").folder
    before, copies = content_of(kept), tmp_path / "copies"
    arguments = [str(kept), str(copies), str(KILLS_AT_RANDOM)]
    subprocess.run([sys.executable, "-c", UPGRADED_AND_KILLED, *arguments], check=True, timeout=300)
    after = content_of(copies / "whole")
    assert after[0] == CURRENT_REVISION

    left = {copy.name: content_of(copy) for copy in copies.iterdir()}
    assert {name for name, content in left.items() if content not in (before, after)} == set()
    halfway = [name for name, content in left.items() if content == before and name.startswith("statement")]
    print(f"kills after a statement: {len(halfway)}; as it was: {list(left.values()).count(before)} of {len(left)}")
    assert len(halfway) > len(REVISIONS)
    for copy in copies.iterdir():
        upgrade_database(Database(copy))
        assert content_of(copy) == after


def content_of(folder: Path) -> tuple[str, str]:
    """A database's revision, and a checksum of its schema and all its rows."""
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version")
        text = "\n".join(connection.iterdump())
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return revision, hashlib.sha256(text.encode()).hexdigest()


OPENED_BY_MANY = """
import os, pathlib, sys
import alembic.command, alembic.config
from mlflow_amlstore.records.folder import open_records

begin, beginning = os.pipe()
children = []
for number in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(beginning)
        os.read(begin, 1)
        records = open_records(pathlib.Path(sys.argv[1]))
        print(records.experiments.create(f"by {number}"), flush=True)
        os._exit(0)
os.close(beginning)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_opened_by_many_at_once_it_is_upgraded_once(unpack: Callable[[str, Path], Kept], tmp_path: Path) -> None:
    kept = unpack(REVISIONS[0], tmp_path)
    subprocess.run([sys.executable, "-c", OPENED_BY_MANY, str(kept.folder)], check=True, timeout=300)
    names = set(Workspace.from_config(kept.folder).experiments)
    assert names >= {f"by {number}" for number in range(8)}
    assert content_of(kept.folder)[0] == CURRENT_REVISION


def test_a_process_that_logs_goes_on_while_a_newer_one_upgrades(
    unpack: Callable[[str, Path], Kept], code_of: Callable[[str], Code], tmp_path: Path
) -> None:
    """The process is of the last commit before the last migration. It knows no extremes of metrics; they are right."""
    kept = unpack(REVISIONS[-2], tmp_path / "kept")
    with CodeProcess(code_of(kept.recorded["commit"]), tmp_path / "home") as logging:
        logging.begin("log_until_told", kept.folder, tmp_path / "upgraded")
        while not (tmp_path / "upgraded.begun").exists():
            assert logging.is_alive()
            time.sleep(0.01)
        assert content_of(kept.folder)[0] == REVISIONS[-2]
        workspace = Workspace.from_config(kept.folder)
        assert content_of(kept.folder)[0] == CURRENT_REVISION
        (tmp_path / "upgraded").touch()
        run_id, number = logging.answer()

    run = workspace.get_run(run_id)
    assert run.get_metrics()["m"] == [float(step) for step in range(number)]
    assert run.get_file_names() == ["end.txt"]
    records = open_records(kept.folder)
    for _ in range(2):
        [m] = records.metrics.summaries([run_id])[run_id]
        assert (m.last_step, m.minimum, m.maximum) == (number - 1, 0, number - 1)
        records.runs.log(run_id, points=[("m", float(number), number, 1)])
        number += 1
    records.close()


OPENED = """
import sys, time
from pathlib import Path
import alembic.command, alembic.config
from mlflow_amlstore.records.folder import open_records
began = time.monotonic()
open_records(Path(sys.argv[1])).close()
print(time.monotonic() - began, "rich" in sys.modules)
"""
LONG_S = 2


def open_on_terminal(
    folder: Path, shown: Callable[[bytes], None] = lambda shown: None, columns: int = 500
) -> tuple[str, str]:
    """Open a workspace in a process on a terminal; return what its errors showed there, and what it printed.

    `shown` hears all that was shown so far each time that there is more. A terminal of `columns` characters shows less.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", OPENED, str(folder)]
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(command, stdin=its, stdout=subprocess.PIPE, stderr=its, env={**env, "TERM": "xterm"})
    os.close(its)
    seen = b""
    try:
        while more := os.read(ours, 4096):
            seen += more
            shown(seen)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    printed, _ = process.communicate()
    assert process.returncode == 0, seen
    return seen.decode(), printed.decode().strip()


@pytest.mark.parametrize("columns", [500, 40])
def test_an_upgrade_that_takes_long_shows_on_a_terminal_that_it_goes_on(
    unpack: Callable[[str, Path], Kept], tmp_path: Path, columns: int
) -> None:
    """It takes long here because another process writes. A narrow terminal cuts the text, not the time."""
    kept = unpack(REVISIONS[0], tmp_path)
    with closing(sqlite3.connect(kept.folder / "records.db", isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        command = [sys.executable, "-c", OPENED, str(kept.folder)]
        in_pipes = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def end_when_shown(shown: bytes) -> None:
            if b"Bringing the workspace" in shown and b"0:00:0" in shown and writing.in_transaction:
                writing.execute("COMMIT")

        shown, _ = open_on_terminal(kept.folder, end_when_shown, columns)
    printed, errors = in_pipes.communicate()
    whole = f"Bringing the workspace {kept.folder} to schema {CURRENT_REVISION}"
    assert whole in shown or (columns < len(whole) and whole[: columns // 2] in shown)
    assert (printed.split()[1:], errors) == ([b"False"], b"")
    assert content_of(kept.folder)[0] == CURRENT_REVISION


def test_a_short_one_shows_nothing_and_loads_nothing_for_it(
    unpack: Callable[[str, Path], Kept], tmp_path: Path
) -> None:
    shown, printed = open_on_terminal(unpack(REVISIONS[0], tmp_path).folder)
    took_s, is_rich_loaded = printed.split()
    assert (shown, is_rich_loaded) == ("", "False") or float(took_s) >= LONG_S
