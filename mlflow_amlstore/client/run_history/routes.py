"""Calls of one workspace's run history.

Experiments are named by their ids, because a name may change. A run is named by its id alone, without its experiment.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.errors import NotFound, ServiceError


class RunHistory:
    """The routes of a workspace; each call raises what `Connection.request` does."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def call(self, method: str, path: str, given: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Call a route of the run history."""
        return self.connection.request(method, self._at("history/v1.0", path), json=given, params=params)

    def call_content(self, method: str, path: str, given: Any = None) -> Any:
        """Call a route of the snapshots."""
        return self.connection.request(method, self._at("content/v2.0", path), json=given)

    def call_execution(self, method: str, path: str, given: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Call a route of the submissions and compute targets, for which a tracking token isn't enough."""
        return self.connection.request_by_key(method, self._at("execution/v1.0", path), json=given, params=params)

    def call_environments(self, method: str, path: str, given: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Call a route of the registered environments, for which a tracking token isn't enough."""
        path = self._at("environment/v1.0", f"environments/{path}")
        return self.connection.request_by_key(method, path, json=given, params=params)

    def call_lease(self, method: str, run_id: str, given: Any = None) -> Any:
        """Call the route of a run's lease, with the run's own token."""
        path = self._at("execution/v1.0", f"runs/{segment(run_id)}/lease")
        return self.connection.request(method, path, json=given)

    def call_mlflow(self, method: str, path: str, given: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Call a route of MLflow's."""
        path = f"{self.connection.mlflow_path}/api/2.0/mlflow/{path}"
        return self.connection.request(method, path, json=given, params=params)

    def call_models(self, method: str, path: str, given: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Call a route of the model management."""
        return self.connection.request(method, self._at("modelmanagement/v1.0", path), json=given, params=params)

    def call_metrics(self, run_id: str, what: str, given: Any, request_id: str | None = None) -> Any:
        """Call a route of a run's metrics, with bare NaN and Infinity where they are, as the SDK does."""
        body = json.dumps(given, separators=(",", ":")).encode()
        path = self._at("metric/v2.0", f"runs/{segment(run_id)}/{what}")
        return self.connection.request("POST", path, json=body, request_id=request_id)

    def _at(self, service: str, path: str) -> str:
        return f"/{service}{self.connection.workspace_path}/{path}"

    def get_experiment(self, experiment_id: str) -> dict[str, Any]:
        """An experiment by its id. Raises NotFound."""
        with named("experiment", experiment_id):
            return dict(self.call("GET", f"experimentids/{segment(experiment_id)}"))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """A run by its id. Raises NotFound."""
        with named("run", run_id):
            return dict(self.call("GET", f"runs/{segment(run_id)}"))

    def get_logged_model(self, model_id: str) -> dict[str, Any]:
        """What MLflow's API tells of a logged model. Raises NotFound."""
        with named("logged model", model_id):
            path = f"{self.connection.mlflow_path}/api/2.0/mlflow/logged-models/{segment(model_id)}"
            return dict(self.connection.request("GET", path)["model"]["info"])


@contextmanager
def named(kind: str, key: str) -> Iterator[None]:
    """Calls inside it are about one thing: a 404 is raised as NotFound of that."""
    try:
        yield
    except ServiceError as error:
        if error.http_status == 404:
            raise NotFound(kind, key) from None
        raise
