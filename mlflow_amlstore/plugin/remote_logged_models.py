"""Logged models of a workspace over the network as MLflow's tracking store has them. MLflow 3 brought them: MLflow 2
can't import this.

Where the workspace has the endpoints they are asked; MLflow's own conversion from protobuf turns what a model doesn't
have into empty strings, so it isn't used. Where it has none, which the first 404 tells, `journal.logged_models` keeps
them. A workspace that has got the endpoints since still shows those.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from mlflow.entities import LoggedModel, LoggedModelParameter, LoggedModelStatus, LoggedModelTag, Metric
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchLoggedModelsUtils, SearchUtils

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.logged_models import LoggedModelsInRuns
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import call
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord

_ROUTE = "/api/2.0/mlflow/logged-models"
_OUTPUTS = "/api/2.0/mlflow/runs/outputs"
_DEFAULT_MAX_RESULTS = 100  # as MLflow's other stores
_ALL = 1000
_STATUS_ON_THE_WIRE = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
_STATUS = {wire: status for status, wire in _STATUS_ON_THE_WIRE.items()}

Json = dict[str, Any]
T = TypeVar("T")


class RemoteLoggedModelsMixin:
    """The logged-model methods of a tracking store that has a connection; MLflow's own do where none is here."""

    connection: Connection
    in_runs: LoggedModelsInRuns
    _keeping_none: frozenset[str] = frozenset()
    """Experiments whose runs keep no models."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[LoggedModelTag] | None = None,
        params: Sequence[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a pending logged model, with a name made up where none is given."""
        given = {
            "experiment_id": str(experiment_id),
            "name": name,
            "source_run_id": source_run_id,
            "model_type": model_type,
            "tags": [_pair(tag) for tag in tags or ()],
            "params": [_pair(param) for param in params or ()],
        }
        return self._endpoint_or(
            lambda: _logged_model(call(self.connection, "POST", _ROUTE, given)["model"]),
            lambda: _entity(
                self.in_runs.create(
                    str(experiment_id),
                    name=name,
                    source_run_id=source_run_id,
                    model_type=model_type,
                    params={param.key: str(param.value) for param in params or ()},
                    tags={tag.key: str(tag.value) for tag in tags or ()},
                )
            ),
        )

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a logged model, a deleted one only if allowed."""
        return self._of_model(
            lambda: _logged_model(
                call(self.connection, "GET", _of(model_id), {"allow_deleted": allow_deleted})["model"]
            ),
            lambda: _entity(self.in_runs.get(model_id, allow_deleted=allow_deleted)),
        )

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None = None,
        datasets: Sequence[Json] | None = None,
        max_results: int | None = None,
        order_by: Sequence[Json] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """Return a page of logged models; `datasets` and `order_by` are MLflow's dictionaries."""
        ids = [str(experiment_id) for experiment_id in experiment_ids]
        kept = self._kept_in_runs(ids)
        given = {
            "experiment_ids": ids,
            "filter": filter_string,
            "datasets": list(datasets or ()),
            "max_results": max_results or _DEFAULT_MAX_RESULTS,
            "order_by": list(order_by or ()),
            "page_token": page_token,
        }
        if not kept:
            return self._endpoint_or(lambda: self._page(given), lambda: PagedList([], None))
        others: list[LoggedModel] = self._endpoint_or(lambda: self._all_in(ids), list)
        found = SearchLoggedModelsUtils.filter_logged_models(
            [*others, *kept], filter_string, list(datasets or ()) or None
        )
        found = SearchLoggedModelsUtils.sort(found, list(order_by or ()))
        page, token = SearchUtils.paginate(found, page_token, max_results or _DEFAULT_MAX_RESULTS)
        return PagedList(page, token)

    def _kept_in_runs(self, experiment_ids: list[str]) -> list[LoggedModel]:
        """Models that runs of these experiments keep; where the workspace has the endpoints there come no more."""
        asked = frozenset(experiment_ids)
        if self.connection.has_logged_models and asked <= self._keeping_none:
            return []
        with as_mlflow_errors():
            kept = [_entity(record) for record in self.in_runs.in_experiments(experiment_ids)]
        if not kept:
            self._keeping_none |= asked
        return kept

    def _page(self, given: Json) -> PagedList[LoggedModel]:
        answer = call(self.connection, "POST", f"{_ROUTE}/search", given)
        models = [_logged_model(message) for message in answer.get("models") or ()]
        return PagedList(models, answer.get("next_page_token") or None)

    def _all_in(self, experiment_ids: list[str]) -> list[LoggedModel]:
        found: list[LoggedModel] = []
        token = None
        while True:
            given = {"experiment_ids": experiment_ids, "max_results": _ALL, "page_token": token}
            page = self._page(given)
            found += page
            token = page.token
            if not token:
                return found

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus | str) -> LoggedModel:
        """Mark a logged model READY or FAILED."""
        with as_mlflow_errors():
            if str(status) not in _STATUS_ON_THE_WIRE:
                raise InvalidValue("model status", str(status), f"must be one of {', '.join(_STATUS_ON_THE_WIRE)}")
        given = {"model_id": model_id, "status": _STATUS_ON_THE_WIRE[str(status)]}
        return self._of_model(
            lambda: _logged_model(call(self.connection, "PATCH", _of(model_id), given)["model"]),
            lambda: _entity(self.in_runs.finalize(model_id, str(status))),
        )

    def set_logged_model_tags(self, model_id: str, tags: Sequence[LoggedModelTag]) -> None:
        """Set tags."""
        given = {"tags": [_pair(tag) for tag in tags]}
        self._of_model(
            lambda: call(self.connection, "PATCH", f"{_of(model_id)}/tags", given),
            lambda: self.in_runs.set_tags(model_id, {tag.key: str(tag.value) for tag in tags}),
        )

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag, which must be there. MLflow puts its name into the path as it is."""
        self._of_model(
            lambda: call(self.connection, "DELETE", f"{_of(model_id)}/tags/{quote(key, safe='')}"),
            lambda: self.in_runs.delete_tag(model_id, key),
        )

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model; its files stay."""
        self._of_model(
            lambda: call(self.connection, "DELETE", _of(model_id)),
            lambda: self.in_runs.delete(model_id),
        )

    def log_logged_model_params(self, model_id: str, params: Sequence[LoggedModelParameter]) -> None:
        """Add params that the model doesn't have yet."""
        given = {"params": [_pair(param) for param in params]}
        self._of_model(
            lambda: call(self.connection, "POST", f"{_of(model_id)}/params", given),
            lambda: self.in_runs.add_params(model_id, {param.key: str(param.value) for param in params}),
        )

    def log_outputs(self, run_id: str, models: Sequence[Any]) -> None:
        """Record logged models, as LoggedModelOutput entities, that came out of a run."""
        given = {"run_id": run_id, "models": [{"model_id": model.model_id, "step": model.step} for model in models]}
        self._endpoint_or(
            lambda: call(self.connection, "POST", _OUTPUTS, given),
            lambda: self.in_runs.add_outputs(run_id, [(model.model_id, model.step) for model in models]),
        )

    def keeps_in_runs(self, model_id: str) -> bool:
        """Whether a logged model is kept in its run, because the workspace has no endpoints; asked once."""
        if self.connection.has_logged_models is None:
            try:
                self._endpoint_or(lambda: call(self.connection, "GET", _of(model_id)), lambda: None)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return self.connection.has_logged_models is False

    def add_points_in_runs(self, points: Sequence[LoggedModelPoint]) -> None:
        """Add metric points to logged models that are kept in their runs."""
        with as_mlflow_errors():
            self.in_runs.add_points(points)

    def _endpoint_or(self, endpoint: Callable[[], T], instead: Callable[[], T]) -> T:
        """Call an endpoint where the workspace has it, else do without."""
        if self.connection.has_logged_models is not False:
            try:
                answer = endpoint()
                self.connection.has_logged_models = True
                return answer
            except MlflowException as error:
                if error.error_code != "ENDPOINT_NOT_FOUND":
                    raise
                self.connection.has_logged_models = False
        with as_mlflow_errors():
            return instead()

    def _of_model(self, endpoint: Callable[[], T], instead: Callable[[], T]) -> T:
        """As `_endpoint_or`, for a model that may be from before the workspace had the endpoint."""
        try:
            return self._endpoint_or(endpoint, instead)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or self.connection.has_logged_models is False:
                raise
            self.connection.has_logged_models = True
            try:
                with as_mlflow_errors():
                    return instead()
            except MlflowException:
                raise error from None


def _of(model_id: str) -> str:
    return f"{_ROUTE}/{quote(str(model_id), safe='')}"


def _pair(item: LoggedModelTag | LoggedModelParameter) -> dict[str, str]:
    return {"key": item.key, "value": str(item.value)}


def _logged_model(message: Json) -> LoggedModel:
    info, data = message["info"], message.get("data") or {}
    return LoggedModel(
        experiment_id=info["experiment_id"],
        model_id=info["model_id"],
        name=info["name"],
        artifact_location=info["artifact_uri"],
        creation_timestamp=info["creation_timestamp_ms"],
        last_updated_timestamp=info["last_updated_timestamp_ms"],
        model_type=info.get("model_type"),
        source_run_id=info.get("source_run_id"),
        status=LoggedModelStatus(_STATUS[info["status"]]),
        status_message=info.get("status_message"),
        tags={item["key"]: item.get("value", "") for item in info.get("tags") or ()},
        params={item["key"]: item.get("value", "") for item in data.get("params") or ()},
        metrics=[_metric(item) for item in data.get("metrics") or ()],
    )


def _entity(record: LoggedModelRecord) -> LoggedModel:
    return LoggedModel(
        experiment_id=record.experiment_id,
        model_id=record.model_id,
        name=record.name,
        artifact_location=record.artifact_location or "",
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        model_type=record.model_type,
        source_run_id=record.source_run_id,
        status=LoggedModelStatus(record.status),
        status_message=record.status_message,
        tags=record.tags,
        params=record.params,
        metrics=[
            Metric(
                point.name,
                point.value,
                point.timestamp_ms,
                point.step,
                model_id=point.model_id,
                dataset_name=point.dataset_name or None,
                dataset_digest=point.dataset_digest or None,
                run_id=point.run_id or None,
            )
            for point in record.metrics
        ],
    )


def _metric(message: Json) -> Metric:
    return Metric(
        message["key"],
        float(message["value"]),
        message["timestamp"],
        message.get("step", 0),
        model_id=message.get("model_id"),
        dataset_name=message.get("dataset_name"),
        dataset_digest=message.get("dataset_digest"),
        run_id=message.get("run_id"),
    )
