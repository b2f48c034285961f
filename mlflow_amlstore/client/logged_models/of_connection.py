"""The choice between the two sources of logged models, made once for each connection."""

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.logged_models.endpoints import ModelEndpoints, has_endpoints
from mlflow_amlstore.client.logged_models.journaled import JournaledModels
from mlflow_amlstore.client.logged_models.source import LoggedModelSource

_chosen: dict[int, LoggedModelSource] = {}  # by the `id` of a connection, which lives as long as its process


def logged_models_of(connection: Connection) -> LoggedModelSource:
    """The logged models of a workspace. The first call asks the workspace whether it has endpoints for them.

    Raises what `Connection.request` does. Then the next call asks again.
    """
    chosen = _chosen.get(id(connection))
    if chosen is None:
        source = ModelEndpoints(connection) if has_endpoints(connection) else JournaledModels(connection)
        chosen = _chosen.setdefault(id(connection), source)
    return chosen
