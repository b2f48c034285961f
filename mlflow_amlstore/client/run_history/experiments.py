"""Experiments of a workspace behind a service: implements `records.common_store.CommonExperiments`."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.errors import AlreadyExists, NotFound, NotSupported, ServiceError
from mlflow_amlstore.protocol.times import time_ms_or_none
from mlflow_amlstore.protocol.views import AZURE_VIEWS, MLFLOW_VIEWS
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.types import ExperimentRecord, Page, View
from mlflow_amlstore.records.validation import check_experiment_name


def _fits_a_path(name: str) -> bool:
    """Whether a service can tell the name in a path from the path's parts, whoever decodes it on the way."""
    return not any(character in name for character in "/\\%") and name not in (".", "..")


class RemoteExperiments:
    """Experiments of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def create(self, name: str, *, artifact_location: str | None = None, tags: Mapping[str, str] | None = None) -> str:
        if artifact_location is not None:
            raise NotSupported("An artifact location for an experiment of a service", "Files are kept in the workspace")
        name = check_experiment_name(name)
        if _fits_a_path(name):
            experiment_id = str(self._history.call("POST", f"experiments/{segment(name)}")["experimentId"])
        else:
            experiment_id = self._create_by_mlflow(name)
        if tags:
            self._modify(experiment_id, {"tags": dict(tags)})
        return experiment_id

    def _create_by_mlflow(self, name: str) -> str:
        try:
            return str(self._history.call_mlflow("POST", "experiments/create", {"name": name})["experiment_id"])
        except ServiceError as error:
            if error.error_code == AlreadyExists.mlflow_code:
                raise AlreadyExists("experiment", name) from None
            raise

    def get(self, experiment_id: str) -> ExperimentRecord:
        return _record(self._history.get_experiment(experiment_id))

    def find_by_name(self, name: str) -> ExperimentRecord | None:
        try:
            with named("experiment", name):
                if _fits_a_path(name):
                    return _record(self._history.call("GET", f"experiments/{segment(name)}"))
                found = self._history.call_mlflow("GET", "experiments/get-by-name", params={"experiment_name": name})
                return self.get(str(found["experiment"]["experiment_id"]))
        except NotFound:
            return None

    def search(
        self,
        *,
        view: View = View.ACTIVE,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ExperimentRecord]:
        if filter.comparisons or order_by:
            given = {
                "view_type": MLFLOW_VIEWS[view],
                "filter": filter.text,
                "order_by": list(order_by),
                "max_results": max_results,
                "page_token": page_token,
            }
            answer = self._history.call_mlflow("POST", "experiments/search", given)
            found = [_record_of_message(message) for message in answer.get("experiments") or ()]
            return Page(found, answer.get("next_page_token") or None)
        body = {"viewType": AZURE_VIEWS[view], "top": max_results, "continuationToken": page_token}
        answer = self._history.call("POST", "experiments:query", given=body)
        records = [_record(found) for found in answer.get("value") or ()]
        return Page(records, answer.get("continuationToken") or None)

    def delete(self, experiment_id: str) -> None:
        self._modify(experiment_id, {"archive": True})

    def restore(self, experiment_id: str) -> None:
        self._modify(experiment_id, {"archive": False})

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        self._modify(experiment_id, {"tags": {name: value}})

    def delete_tag(self, experiment_id: str, name: str) -> None:
        path = f"experimentids/{segment(experiment_id)}/tags:delete"
        with named("experiment", experiment_id):
            self._history.call("POST", path, given={"tags": [name]})

    def _modify(self, experiment_id: str, changes: dict[str, Any]) -> None:
        path = f"experimentids/{segment(experiment_id)}"
        with named("experiment", experiment_id):
            self._history.call("PATCH", path, given=changes)


def _record(found: dict[str, Any]) -> ExperimentRecord:
    created = time_ms_or_none(found.get("createdUtc")) or 0
    return ExperimentRecord(
        experiment_id=str(found["experimentId"]),
        name=str(found["name"]),
        created_ms=created,
        updated_ms=created,
        deleted_ms=time_ms_or_none(found.get("archivedTime")),
        artifact_location=None,
        tags=dict(found.get("tags") or {}),
    )


def _record_of_message(message: dict[str, Any]) -> ExperimentRecord:
    """An experiment as MLflow has it, which doesn't tell when it was deleted."""
    updated = message.get("last_update_time") or 0
    return ExperimentRecord(
        experiment_id=str(message["experiment_id"]),
        name=str(message["name"]),
        created_ms=message.get("creation_time") or 0,
        updated_ms=updated,
        deleted_ms=updated if message.get("lifecycle_stage") == "deleted" else None,
        artifact_location=None,
        tags={tag["key"]: tag.get("value", "") for tag in message.get("tags") or ()},
    )
