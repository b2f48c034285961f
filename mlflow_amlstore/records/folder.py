"""The records of an embedded workspace's folder: made, and opened with their schema brought up to date.

This is the way in to all that needs SQLAlchemy and Alembic, which the client of a service does without.
"""

from pathlib import Path

from mlflow_amlstore.errors import storage_error
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import create_database, upgrade_database
from mlflow_amlstore.records.store import RecordStore


def create_records(folder: Path) -> None:
    """Make a folder's database, unless it is there. Raises ReadOnly, DiskFull, StorageFailed, SchemaTooNew."""
    database = Database(folder)
    try:
        create_database(database)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        database.close()


def open_records(folder: Path) -> RecordStore:
    """Open a folder's database. Raises SchemaTooNew, WorkspaceCorrupt, StorageFailed, ReadOnly."""
    database = Database(folder)
    try:
        upgrade_database(database)
        records = RecordStore(database)
        records.keep_to_workspace()
    except BaseException:
        database.close()
        raise
    return records
