"""Logged models of a service as MLflow's tracking store has them. MLflow 3 brought them: MLflow 2 can't import this.

MLflow's own conversion from protobuf turns what a model doesn't have into empty strings.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mlflow.entities import LoggedModel, LoggedModelParameter, LoggedModelStatus, LoggedModelTag, Metric
from mlflow.store.entities.paged_list import PagedList

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import call
from mlflow_amlstore.workspace.connection import Connection

_ROUTE = "/api/2.0/mlflow/logged-models"
_DEFAULT_MAX_RESULTS = 100  # as MLflow's other stores
_STATUS_ON_THE_WIRE = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
_STATUS = {wire: status for status, wire in _STATUS_ON_THE_WIRE.items()}

Json = dict[str, Any]


class RemoteLoggedModelsMixin:
    """The logged-model methods of a tracking store that has a connection; MLflow's own do where none is here."""

    connection: Connection

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
        return _logged_model(call(self.connection, "POST", _ROUTE, given)["model"])

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a logged model, a deleted one only if allowed."""
        return _logged_model(call(self.connection, "GET", _of(model_id), {"allow_deleted": allow_deleted})["model"])

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
        given = {
            "experiment_ids": [str(experiment_id) for experiment_id in experiment_ids],
            "filter": filter_string,
            "datasets": list(datasets or ()),
            "max_results": max_results or _DEFAULT_MAX_RESULTS,
            "order_by": list(order_by or ()),
            "page_token": page_token,
        }
        answer = call(self.connection, "POST", f"{_ROUTE}/search", given)
        models = [_logged_model(message) for message in answer.get("models") or ()]
        return PagedList(models, answer.get("next_page_token") or None)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus | str) -> LoggedModel:
        """Mark a logged model READY or FAILED."""
        with as_mlflow_errors():
            if str(status) not in _STATUS_ON_THE_WIRE:
                raise InvalidValue("model status", str(status), f"must be one of {', '.join(_STATUS_ON_THE_WIRE)}")
        given = {"model_id": model_id, "status": _STATUS_ON_THE_WIRE[str(status)]}
        return _logged_model(call(self.connection, "PATCH", _of(model_id), given)["model"])

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag, which must be there. MLflow puts its name into the path as it is."""
        call(self.connection, "DELETE", f"{_of(model_id)}/tags/{quote(key, safe='')}")


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
