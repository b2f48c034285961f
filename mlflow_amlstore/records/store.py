"""The record store: everything a workspace can be asked to do with its run records, in SQL on this machine.

`records.common_store` is the part of it that the client of a service has, too. The store speaks in `records.types`,
raises `mlflow_amlstore.errors`, and knows neither MLflow nor HTTP. Every method is one transaction: done whole and
durable on return, or not done at all. Any method may raise `NotFound` for an id that this workspace doesn't have,
`InvalidValue` for a value that breaks a rule, `ReadOnly`, `DiskFull`, `WorkspaceBusy` and `StorageFailed`; docstrings
name only what is particular.

A search takes a filter that `records.search.parser` read, and orderings in MLflow's words.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from sqlalchemy import select

from mlflow_amlstore.errors import WorkspaceCorrupt, WorkspaceNotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.snapshots import FileSnapshots
from mlflow_amlstore.records.sql.acts import SqlActs
from mlflow_amlstore.records.sql.applied_requests import SqlAppliedRequests
from mlflow_amlstore.records.sql.compute_targets import SqlComputeTargets
from mlflow_amlstore.records.sql.environments import SqlEnvironments
from mlflow_amlstore.records.sql.experiments import SqlExperiments
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.sql.keys import SqlKeys
from mlflow_amlstore.records.sql.logged_models import SqlLoggedModels
from mlflow_amlstore.records.sql.metrics import SqlMetrics
from mlflow_amlstore.records.sql.models import SqlModels
from mlflow_amlstore.records.sql.run_leases import SqlRunLeases
from mlflow_amlstore.records.sql.run_processes import SqlRunProcesses
from mlflow_amlstore.records.sql.runs import SqlRuns
from mlflow_amlstore.records.sql.saved_views import SqlSavedViews
from mlflow_amlstore.records.sql.trash import SqlTrash
from mlflow_amlstore.records.tables import workspace
from mlflow_amlstore.records.watch import Watch


class RecordStore:
    """A workspace's run records, by topic. Safe across threads; a forked child gets its own connections."""

    def __init__(self, database: Database) -> None:
        """Take a database whose schema is current (`records.schema`)."""
        self._database = database
        self.experiments = SqlExperiments(database)
        self.runs = SqlRuns(database)
        self.run_processes = SqlRunProcesses(database)
        self.metrics = SqlMetrics(database)
        self.files = SqlFiles(database)
        self.logged_models = SqlLoggedModels(database)
        self.models = SqlModels(database)
        self.snapshots = FileSnapshots(self.files)
        self.trash = SqlTrash(database, self.files)
        self.keys = SqlKeys(database)
        self.acts = SqlActs(database)
        self.saved_views = SqlSavedViews(database)
        self.compute_targets = SqlComputeTargets(database)
        self.run_leases = SqlRunLeases(database)
        self.environments = SqlEnvironments(database)
        self._applied_requests = SqlAppliedRequests(database)

    @property
    def folder(self) -> Path:
        """The workspace's folder."""
        return self._database.folder

    @cached_property
    def workspace_id(self) -> str:
        """The workspace's own id, which stays with its records wherever they go."""
        with self._database.read() as connection:
            found: str | None = connection.execute(select(workspace.c.workspace_id)).scalar()
        if found is None:
            raise WorkspaceCorrupt(str(self._database.folder), "records.db doesn't say which workspace it is of")
        return found

    def keep_to_workspace(self) -> None:
        """Raise WorkspaceReplaced from now on where somebody puts another workspace in this one's place."""
        self._database.keep_to(self.workspace_id)

    def is_in_place(self) -> bool:
        """Whether the folder still holds this workspace, and not another."""
        try:
            with self._database.read():
                return True
        except WorkspaceNotFound:
            return False

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Iterator[None]:
        """Make the calls in the block one transaction, durable when it ends; each call is still whole or absent.

        For short writes of records: other writers wait meanwhile. Files can't be written or deleted in it. Without
        `wait`, WorkspaceBusy is raised at once where anybody else is writing.
        """
        with self._database.write(wait=wait):
            yield

    def once(self, request_id: str, apply: Callable[[], bytes]) -> bytes:
        """Call `apply` in a transaction and return its answer, or the answer of the time before for a known id.

        The id and the answer are remembered in the same transaction, for at least a day.
        """
        return self._applied_requests.once(request_id, apply)

    def forget_old_requests(self) -> None:
        """Forget the ids that `once` has remembered for more than a day."""
        self._applied_requests.forget_old()

    def watch(self) -> Watch:
        """A watch over everything that is written into this workspace, by any process; it must be closed."""
        return Watch(self._database)

    def close(self) -> None:
        """Leave the runs that this process set going for others, and release the database's connections."""
        self.runs.leave()
        self._database.close()
