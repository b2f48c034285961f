"""The lock for what must be right in the whole workspace, and which no constraint of the schema sees to."""

from sqlalchemy import select

from mlflow_amlstore.records.dialects import locked
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import workspace

_LOCK = DriverStatement(locked(select(workspace.c.created_ms)))


def lock_workspace(driver: Driver) -> None:
    """Let no other transaction come past this line until the caller's ends. In SQLite none could."""
    _LOCK.run(driver)
