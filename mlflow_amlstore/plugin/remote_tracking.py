"""MLflow's tracking store over a workspace service: MLflow's own REST client, on our connection.

What a training loop calls, and what reads much, goes past protobuf (`remote_entities`); the rest is MLflow's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlflow.entities as mlflow_entities
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.protos.service_pb2 import MlflowService
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import extract_api_info_for_service

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.logged_models.of_connection import logged_models_of
from mlflow_amlstore.client.run_calls import both_ids, get_run
from mlflow_amlstore.client.run_log import RunLog
from mlflow_amlstore.plugin import local_paths, remote_entities, submitted_run
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors, raises_mlflow_errors
from mlflow_amlstore.plugin.async_logging import LosslessAsyncLogging
from mlflow_amlstore.plugin.one_store import OneStoreEach
from mlflow_amlstore.plugin.racing_experiments import RacingExperiments
from mlflow_amlstore.plugin.remote_calls import HostCredentials, OnConnection, call
from mlflow_amlstore.plugin.remote_runs import RunPage, RunSearch, WholeRuns
from mlflow_amlstore.plugin.unsupported_methods import NoTraces, UnsupportedMethods

if TYPE_CHECKING:
    from mlflow_amlstore.plugin.client_side_search import ClientSideSearches

if hasattr(mlflow_entities, "LoggedModel"):
    from mlflow_amlstore.plugin.remote_logged_models import RemoteLoggedModelsMixin
else:

    class RemoteLoggedModelsMixin:  # type: ignore[no-redef]  # MLflow 2 has no logged models to adapt
        """MLflow 2 knows of none, and so asks for none."""


_API = "/api/2.0/mlflow"
_DEFAULT_MAX_RESULTS = 1000
_ENDPOINTS: dict[Any, tuple[str, str]] = extract_api_info_for_service(MlflowService, "/api/2.0")


@as_mlflow_errors()
def tracking_store_of(store_uri: str) -> "RemoteTrackingStore":
    """The one store of a service's workspace, whatever `expires` and `token` its URI has; the newer token is used."""
    return _stores.of(connection_of(store_uri))


@raises_mlflow_errors
class RemoteTrackingStore(  # type: ignore[misc]  # MLflow's mixins
    OnConnection,
    RacingExperiments,
    NoTraces,
    UnsupportedMethods,
    RemoteLoggedModelsMixin,
    RestStore,
    LosslessAsyncLogging,
):
    """A service's workspace as MLflow's tracking store. Safe across threads, fork and pickling."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        super().__init__(HostCredentials(connection))
        self.connection = connection
        self._root_uri = connection.root
        self._log = RunLog(connection)
        self._runs = WholeRuns(connection)
        self._client_side: ClientSideSearches | None = None

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
        message = remote_entities.metric_json(metric)
        if "model_id" in message:
            logged_models_of(self.connection).log(self._log, run_id, [message], (), ())
            return
        self._post("runs/log-metric", {**both_ids(run_id), **message})

    def log_param(self, run_id: str, param: Param) -> None:
        self._log.log_param(run_id, remote_entities.param_json(param))

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        self._log.set_tag(run_id, remote_entities.tag_json(tag))

    def delete_tag(self, run_id: str, key: str) -> None:
        self._log.delete_tag(run_id, key)

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        metric_messages = [remote_entities.metric_json(metric) for metric in metrics]
        param_messages = [remote_entities.param_json(param) for param in params]
        tag_messages = [remote_entities.tag_json(tag) for tag in tags]
        if any("model_id" in message for message in metric_messages):
            source = logged_models_of(self.connection)
            source.log(self._log, run_id, metric_messages, param_messages, tag_messages)
        else:
            self._log.log(run_id, metric_messages, param_messages, tag_messages)

    # Runs

    def get_run(self, run_id: str) -> mlflow_entities.Run:
        run = get_run(self.connection, run_id)
        return self._runs.run(run)

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> RunPage:
        search = RunSearch(self._runs, experiment_ids, run_view_type)
        limits = self.connection.known_limits()
        if limits is None:
            return search.page(filter_string, order_by, max_results, page_token)
        if self._client_side is None:
            # It reads the filter's grammar, which other workspaces don't need.
            from mlflow_amlstore.plugin.client_side_search import ClientSideSearches

            self._client_side = ClientSideSearches(f"The workspace {self.connection.workspace_path.rpartition('/')[2]}")
        most = _DEFAULT_MAX_RESULTS if max_results is None else max_results
        return self._client_side.page(search, filter_string, order_by, most, page_token)

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        limits = self.connection.limits
        if limits is not None and max_results is not None:
            max_results = min(max_results, limits.max_results - 1)
        given = {
            **both_ids(run_id),
            "metric_key": metric_key,
            "max_results": max_results,
            "page_token": page_token,
        }
        answer = call(self.connection, "GET", f"{_API}/metrics/get-history", given)
        return PagedList(remote_entities.metrics(answer.get("metrics", ())), answer.get("next_page_token") or None)

    def create_run(
        self,
        experiment_id: str,
        user_id: str | None,
        start_time: int | None,
        tags: Sequence[RunTag],
        run_name: str | None,
    ) -> mlflow_entities.Run:
        given = {
            "experiment_id": str(experiment_id),
            "user_id": user_id,
            "start_time": start_time,
            "tags": [{"key": tag.key, "value": tag.value} for tag in tags],
            "run_name": run_name,
        }
        created = self._log.create({name: value for name, value in given.items() if value is not None})
        return self._runs.run(created)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> mlflow_entities.RunInfo:
        given: dict[str, Any] = {}
        if not submitted_run.is_this_process(run_id):
            given = {"status": run_status and RunStatus.to_string(run_status), "end_time": end_time}
        given = {name: value for name, value in {**given, "run_name": run_name}.items() if value is not None}
        if not given:
            return self.get_run(run_id).info
        return remote_entities.run_info(self._log.update(run_id, given))

    # What MLflow's own methods fail at with an error of protobuf's, where a value isn't of the right type

    def _experiment_by_name(self, name: str) -> mlflow_entities.Experiment | None:
        found: mlflow_entities.Experiment | None = RestStore.get_experiment_by_name(self, name)
        return found

    def _make_experiment(
        self, name: str, artifact_location: str | None, tags: Sequence[mlflow_entities.ExperimentTag] | None
    ) -> str:
        pairs = [{"key": tag.key, "value": tag.value} for tag in tags or ()]
        given = {"name": name, "artifact_location": local_paths.artifact_location(artifact_location), "tags": pairs}
        return str(self._post("experiments/create", given)["experiment_id"])

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[mlflow_entities.DatasetInput] | None = None,
        models: Sequence[Any] | None = None,
    ) -> None:
        """`models` are LoggedModelInput entities, which MLflow 2 doesn't have."""
        given = [remote_entities.dataset_input_json(dataset) for dataset in datasets or ()]
        if not models:
            self._post("runs/log-inputs", {"run_id": run_id, "datasets": given, "models": []})
            return
        logged_models_of(self.connection).log_inputs(run_id, given, [model.model_id for model in models])


def _unpickled(connection: Connection) -> RemoteTrackingStore:
    return tracking_store_of(connection.root)


_stores: OneStoreEach[Connection, RemoteTrackingStore] = OneStoreEach(RemoteTrackingStore)
