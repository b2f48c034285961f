"""The SQL record store whole: implements `records.store.RecordStore` over one database."""

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.sql.experiments import SqlExperiments
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.sql.logged_models import SqlLoggedModels
from mlflow_amlstore.records.sql.metrics import SqlMetrics
from mlflow_amlstore.records.sql.models import SqlModels
from mlflow_amlstore.records.sql.runs import SqlRuns
from mlflow_amlstore.records.sql.trash import SqlTrash


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
        self.trash = SqlTrash(database, self.files)

    def close(self) -> None:
        """Release the database's connections."""
        self._database.close()
