"""The SQL record store whole: implements `records.store.RecordStore` over one database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import select

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.snapshots import FileSnapshots
from mlflow_amlstore.records.sql.applied_requests import SqlAppliedRequests
from mlflow_amlstore.records.sql.experiments import SqlExperiments
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.sql.keys import SqlKeys
from mlflow_amlstore.records.sql.logged_models import SqlLoggedModels
from mlflow_amlstore.records.sql.metrics import SqlMetrics
from mlflow_amlstore.records.sql.models import SqlModels
from mlflow_amlstore.records.sql.runs import SqlRuns
from mlflow_amlstore.records.sql.trash import SqlTrash
from mlflow_amlstore.records.tables import workspace


class SqlRecordStore:
    """The run records of one workspace on this machine."""

    def __init__(self, database: Database) -> None:
        """Take a database whose schema is current (`records.schema`)."""
        self._database = database
        self.experiments = SqlExperiments(database)
        self.runs = SqlRuns(database)
        self.metrics = SqlMetrics(database)
        self.files = SqlFiles(database)
        self.logged_models = SqlLoggedModels(database)
        self.models = SqlModels(database)
        self.snapshots = FileSnapshots(self.files)
        self.trash = SqlTrash(database, self.files)
        self.keys = SqlKeys(database)
        self._applied_requests = SqlAppliedRequests(database)

    @cached_property
    def workspace_id(self) -> str:
        with self._database.read() as connection:
            return str(connection.execute(select(workspace.c.workspace_id)).scalar_one())

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Iterator[None]:
        with self._database.write(wait=wait):
            yield

    def once(self, request_id: str, apply: Callable[[], bytes]) -> bytes:
        return self._applied_requests.once(request_id, apply)

    def forget_old_requests(self) -> None:
        self._applied_requests.forget_old()

    def close(self) -> None:
        """Release the database's connections."""
        self._database.close()
