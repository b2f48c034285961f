"""Making a workspace's database, and bringing an older one up to date by Alembic, each in one transaction."""

import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select

from mlflow_amlstore.errors import ReadOnly, SchemaTooNew, WorkspaceCorrupt
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.database import LOCK_TIMEOUT_S, Database
from mlflow_amlstore.records.sqlite import is_database, use_write_ahead_log

CURRENT_REVISION = "0006"
_MIGRATIONS = Path(__file__).with_name("migrations")
_REVISION = re.compile(r"(?!0000)[0-9]{4}")  # as our migrations are numbered
_ANOTHER_FOLDER = f"Choose another folder for a new workspace, or {WorkspaceCorrupt.RESTORE}"
_LONG_S = 2.0
_SHOWN_EVERY_S = 0.1
_WIDE = 80  # characters: a narrower terminal shows percents and no bar
_Tell = Callable[[int, int], None]
_BEING_MADE_S = 1.0  # many times what it takes
_alembic_version = Table(  # as Alembic makes it
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def create_database(database: Database) -> None:
    """Make the database file, or finish one that a killed process left unmade. Safe to call from many processes.

    Where a whole one is, this is `upgrade_database`. Raises what that raises, ReadOnly and DiskFull.
    """
    database.folder.mkdir(parents=True, exist_ok=True)
    if database.path.exists() and revision_of(database) is not None:
        upgrade_database(database)
        return
    if not os.access(database.folder, os.W_OK):
        raise ReadOnly(str(database.folder), "none can be made there")
    with database.our_errors():
        use_write_ahead_log(database.path, lock_timeout_s=LOCK_TIMEOUT_S)
    with database.write() as connection:
        if _revision(connection, database) is None:  # else another process was first
            _make_tables(connection)
            add_first_rows(connection, database.now_ms())


def upgrade_database(database: Database) -> None:
    """Bring the schema to `CURRENT_REVISION`. Where another process is making the database, wait a moment for it.

    Raises SchemaTooNew, ReadOnly, or WorkspaceCorrupt where records.db is empty or another program's, before anything
    is written.
    """
    revision = revision_of(database)
    deadline = time.monotonic() + _BEING_MADE_S
    while revision is None and time.monotonic() < deadline:
        time.sleep(0.01)
        revision = revision_of(database)
    if revision is None:
        way_out = (
            "If another process is making it, try again; if its making was cut short, run `amlstore init` again; "
            f"if it held records, {WorkspaceCorrupt.RESTORE}"
        )
        raise WorkspaceCorrupt(str(database.folder), "records.db is empty", way_out)
    if revision == CURRENT_REVISION:
        return
    try:
        _upgrade(database)
    except ReadOnly as error:
        what = f"it can't be read before its schema {revision} is brought to {CURRENT_REVISION}"
        raise ReadOnly(str(database.folder), what) from error


def revision_of(database: Database) -> str | None:
    """The schema's revision; None for a database without anything in it. Raises SchemaTooNew, WorkspaceCorrupt."""
    if not is_database(database.path):
        raise WorkspaceCorrupt(str(database.folder), "file is not a database")
    with database.read() as connection:
        return _revision(connection, database)


def _upgrade(database: Database) -> None:
    what = f"Bringing the workspace {database.folder} to schema {CURRENT_REVISION}"
    with _progress(what) as tell, database.write() as connection:
        if _revision(connection, database) != CURRENT_REVISION:  # else another process was first
            run_migrations(connection, tell=tell)


def _make_tables(connection: Connection) -> None:
    """Give an empty database the schema of `CURRENT_REVISION`, without loading Alembic."""
    tables.metadata.create_all(connection, checkfirst=False)
    _alembic_version.create(connection, checkfirst=False)
    connection.execute(_alembic_version.insert().values(version_num=CURRENT_REVISION))


@contextmanager
def _progress(text: str) -> Iterator[_Tell]:
    """Show on a terminal how far the block has come, and for how long it goes on, where that is more than two seconds.

    The block tells how much is done, and of how much.
    """
    come: list[int] = [0, 0]

    def tell(done: int, total: int) -> None:
        come[:] = done, total

    if not sys.stderr.isatty():
        yield tell
        return
    ended = threading.Event()
    showing = threading.Thread(target=_show_until, args=(ended, text, come), daemon=True)  # the block's is in SQLite
    showing.start()
    try:
        yield tell
    finally:
        ended.set()
        showing.join()


def _show_until(ended: threading.Event, text: str, come: Sequence[int]) -> None:
    if ended.wait(_LONG_S):
        return
    from rich.console import Console  # slow to import, and rarely needed
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(stderr=True)
    narrowed = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # a narrow terminal cuts the text, not the time
    described = TextColumn("{task.description}", table_column=narrowed)
    bar = [BarColumn(bar_width=8)] if console.width >= _WIDE else []
    columns = (SpinnerColumn(), described, *bar, TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task(text, total=None)
        while not ended.wait(_SHOWN_EVERY_S):
            done, total = come
            progress.update(task, completed=done, total=total or None)


def _revision(connection: Connection, database: Database) -> str | None:
    """The schema's revision; None for a database without anything in it. Raises SchemaTooNew, WorkspaceCorrupt."""
    inspector = inspect(connection)
    found = {*inspector.get_table_names(), *inspector.get_view_names()}
    if not found:
        return None
    revision: str | None = None
    if found >= {"alembic_version", tables.workspace.name}:
        revision = connection.execute(select(_alembic_version.c.version_num)).scalar()
        if revision is None:
            raise WorkspaceCorrupt(str(database.folder), "records.db doesn't say which schema it has")
    if revision is None or not _REVISION.fullmatch(revision):
        raise WorkspaceCorrupt(str(database.folder), "records.db is a database of another program", _ANOTHER_FOLDER)
    if revision > CURRENT_REVISION:
        raise SchemaTooNew(str(database.folder), revision, CURRENT_REVISION)
    return revision


def run_migrations(connection: Connection, revision: str = "head", *, tell: _Tell | None = None) -> None:
    """Bring a database to a revision inside the caller's transaction; a long migration tells how far it has come."""
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    if not connection.in_transaction():
        connection.begin()  # else Alembic begins and ends it, and with it the driver's

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))  # % is ConfigParser's
    config.attributes["connection"] = connection
    config.attributes["progress"] = tell
    command.upgrade(config, revision)


def add_first_rows(connection: Connection, now_ms: int) -> None:
    """Give a new workspace its id, and the experiment Default."""
    connection.execute(tables.workspace.insert().values(workspace_id=str(uuid.uuid4()), created_ms=now_ms))
    # MLflow logs into experiment "0" where nobody set one (`mlflow.tracking.fluent`).
    connection.execute(
        tables.experiments.insert().values(experiment_id=0, name="Default", created_ms=now_ms, updated_ms=now_ms)
    )
