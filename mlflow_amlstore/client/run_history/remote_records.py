"""The records of a workspace behind a service: implements `records.common_store.CommonStore`."""

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.connection_cache import ConnectionCache
from mlflow_amlstore.client.run_history.compute_targets import RemoteComputeTargets
from mlflow_amlstore.client.run_history.environments import RemoteEnvironments
from mlflow_amlstore.client.run_history.experiments import RemoteExperiments
from mlflow_amlstore.client.run_history.files import RemoteContainers
from mlflow_amlstore.client.run_history.metrics import RemoteMetrics
from mlflow_amlstore.client.run_history.models import RemoteModels
from mlflow_amlstore.client.run_history.routes import RunHistory
from mlflow_amlstore.client.run_history.runs import RemoteRuns
from mlflow_amlstore.client.run_history.snapshots import RemoteSnapshots


class RemoteRecords:
    """The run records of one workspace; takes no network before it is asked something."""

    def __init__(self, connection: Connection) -> None:
        history = RunHistory(connection)
        self._connection = connection
        self.experiments = RemoteExperiments(history)
        self.runs = RemoteRuns(history)
        self.metrics = RemoteMetrics(history)
        self.files = RemoteContainers(connection)
        self.models = RemoteModels(history)
        self.snapshots = RemoteSnapshots(history)
        self.compute_targets = RemoteComputeTargets(history)
        self.environments = RemoteEnvironments(history)

    def close(self) -> None:
        """End the background renewal of the connection's token, until it is used again."""
        self._connection.close()


_records: ConnectionCache[None, RemoteRecords] = ConnectionCache(lambda connection, _: RemoteRecords(connection))


def records_of(connection: Connection) -> RemoteRecords:
    """The records behind a connection: one object in this process."""
    return _records.of(connection, None)
