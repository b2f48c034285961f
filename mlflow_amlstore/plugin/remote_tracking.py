"""MLflow's tracking store over a workspace service: MLflow's own REST client, on our connection.

What a training loop calls, and what reads much, goes past protobuf (`remote_entities`); the rest is MLflow's.
"""

from collections.abc import Sequence
from typing import Any

import mlflow.entities as mlflow_entities
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.protos.service_pb2 import MlflowService
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import extract_api_info_for_service

from mlflow_amlstore.plugin import remote_entities
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.async_logging import LosslessAsyncLogging
from mlflow_amlstore.plugin.one_store import OneStoreEach
from mlflow_amlstore.plugin.remote_calls import HostCredentials, OnConnection, call
from mlflow_amlstore.plugin.unsupported import UnsupportedMethods
from mlflow_amlstore.workspace.connection import Connection, connection_of

if hasattr(mlflow_entities, "LoggedModel"):
    from mlflow_amlstore.plugin.remote_logged_models import RemoteLoggedModelsMixin
else:

    class RemoteLoggedModelsMixin:  # type: ignore[no-redef]  # MLflow 2 has no logged models to adapt
        """Nothing to add."""


_API = "/api/2.0/mlflow"
_ENDPOINTS: dict[Any, tuple[str, str]] = extract_api_info_for_service(MlflowService, "/api/2.0")
_VIEWS = {ViewType.ACTIVE_ONLY: "ACTIVE_ONLY", ViewType.DELETED_ONLY: "DELETED_ONLY", ViewType.ALL: "ALL"}


def tracking_store_of(store_uri: str) -> "RemoteTrackingStore":
    """The one store of a service's workspace, whatever `expires` and `token` its URI has; the newer token is used."""
    with as_mlflow_errors():
        connection = connection_of(store_uri)
    return _stores.of(connection)


class RemoteTrackingStore(OnConnection, UnsupportedMethods, RemoteLoggedModelsMixin, RestStore, LosslessAsyncLogging):  # type: ignore[misc]  # MLflow's mixins
    """A service's workspace as MLflow's tracking store. Safe across threads, fork and pickling."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        super().__init__(HostCredentials(connection))
        self.connection = connection

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.connection,)

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: float | None = None,
        response_proto: Any = None,
    ) -> Any:
        path, method = _ENDPOINTS[api]
        return self._call_proto(method, endpoint or path, json_body, response_proto or api.Response())

    def _post(self, name: str, given: dict[str, Any]) -> Any:
        return call(self.connection, "POST", f"{_API}/{name}", given)

    # Logging

    def log_metric(self, run_id: str, metric: Metric) -> None:
        with as_mlflow_errors():
            message = remote_entities.metric_json(metric)
        self._post("runs/log-metric", {"run_id": run_id, **message})

    def log_param(self, run_id: str, param: Param) -> None:
        with as_mlflow_errors():
            message = remote_entities.param_json(param)
        self._post("runs/log-parameter", {"run_id": run_id, **message})

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        with as_mlflow_errors():
            message = remote_entities.tag_json(tag)
        self._post("runs/set-tag", {"run_id": run_id, **message})

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        with as_mlflow_errors():
            message = {
                "run_id": run_id,
                "metrics": [remote_entities.metric_json(metric) for metric in metrics],
                "params": [remote_entities.param_json(param) for param in params],
                "tags": [remote_entities.tag_json(tag) for tag in tags],
            }
        self._post("runs/log-batch", message)

    # Runs

    def get_run(self, run_id: str) -> mlflow_entities.Run:
        answer = call(self.connection, "GET", f"{_API}/runs/get", {"run_id": run_id})
        return remote_entities.run(answer["run"])

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> tuple[list[mlflow_entities.Run], str | None]:
        answer = self._post(
            "runs/search",
            {
                "experiment_ids": [str(experiment_id) for experiment_id in experiment_ids],
                "filter": filter_string,
                "run_view_type": _VIEWS.get(run_view_type, run_view_type),
                "max_results": max_results,
                "order_by": list(order_by or ()),
                "page_token": page_token,
            },
        )
        return remote_entities.runs(answer.get("runs", ())), answer.get("next_page_token") or None

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        given = {"run_id": run_id, "metric_key": metric_key, "max_results": max_results, "page_token": page_token}
        answer = call(self.connection, "GET", f"{_API}/metrics/get-history", given)
        return PagedList(remote_entities.metrics(answer.get("metrics", ())), answer.get("next_page_token") or None)

    # What MLflow's own methods fail at with an error of protobuf's, where a value isn't of the right type

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Sequence[mlflow_entities.ExperimentTag] | None = None,
    ) -> str:
        pairs = [{"key": tag.key, "value": tag.value} for tag in tags or ()]
        given = {"name": name, "artifact_location": artifact_location, "tags": pairs}
        return str(self._post("experiments/create", given)["experiment_id"])

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[mlflow_entities.DatasetInput] | None = None,
        models: Sequence[Any] | None = None,
    ) -> None:
        """`models` are LoggedModelInput entities, which MLflow 2 doesn't have."""
        given = {
            "run_id": run_id,
            "datasets": [remote_entities.dataset_input_json(dataset) for dataset in datasets or ()],
            "models": [{"model_id": model.model_id} for model in models or ()],
        }
        self._post("runs/log-inputs", given)


def _unpickled(connection: Connection) -> RemoteTrackingStore:
    return tracking_store_of(connection.root)


_stores: OneStoreEach[Connection, RemoteTrackingStore] = OneStoreEach(RemoteTrackingStore)
