"""Logged models of a workspace that has MLflow 3's endpoints for them.

What was logged before the workspace had the endpoints is in journals still, and found there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mlflow_amlstore.client import run_calls
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.logged_models.journaled import JournaledModels
from mlflow_amlstore.client.logged_models.source import Json, LoggedModelSource
from mlflow_amlstore.errors import AmlStoreError, InvalidValue, ServiceError
from mlflow_amlstore.protocol.model_status import STATUS, WIRE_STATUS
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord, Page

_ROUTE = "/api/2.0/mlflow/logged-models"
_ALL = 1000

T = TypeVar("T")


def has_endpoints(connection: Connection) -> bool:
    """Ask a workspace whether it has endpoints for logged models. Raises what `Connection.request` does."""
    smallest_search = {"experiment_ids": ["0"], "max_results": 1}
    try:
        connection.request("POST", f"{connection.mlflow_path}{_ROUTE}/search", json=smallest_search)
    except ServiceError as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        return False
    return True


class ModelEndpoints(LoggedModelSource):
    """The logged models that a workspace has endpoints for."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self._connection = connection
        self._journaled = JournaledModels(connection)
        self._without_journaled: frozenset[str] = frozenset()  # experiments; no more models come into journals

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        source_run_id: str | None = None,
        model_type: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModelRecord:
        answer = self._ask(
            "POST",
            "",
            experiment_id=str(experiment_id),
            name=name,
            source_run_id=source_run_id,
            model_type=model_type,
            tags=_pairs(tags or {}),
            params=_pairs(params or {}),
        )
        return _record(answer["model"])

    def get(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModelRecord:
        return self._of_model(
            lambda: _record(self._ask("GET", _of(model_id), allow_deleted=allow_deleted)["model"]),
            lambda: self._journaled.get(model_id, allow_deleted=allow_deleted),
        )

    def finalize(self, model_id: str, status: str) -> LoggedModelRecord:
        if status not in WIRE_STATUS:
            raise InvalidValue("model status", status, f"must be one of {', '.join(WIRE_STATUS)}")
        given = {"model_id": model_id, "status": WIRE_STATUS[status]}
        return self._of_model(
            lambda: _record(self._ask("PATCH", _of(model_id), **given)["model"]),
            lambda: self._journaled.finalize(model_id, status),
        )

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        self._of_model(
            lambda: self._ask("PATCH", f"{_of(model_id)}/tags", tags=_pairs(tags)),
            lambda: self._journaled.set_tags(model_id, tags),
        )

    def delete_tag(self, model_id: str, name: str) -> None:
        self._of_model(
            lambda: self._ask("DELETE", f"{_of(model_id)}/tags/{segment(name)}"),
            lambda: self._journaled.delete_tag(model_id, name),
        )

    def add_params(self, model_id: str, params: Mapping[str, str]) -> None:
        self._of_model(
            lambda: self._ask("POST", f"{_of(model_id)}/params", params=_pairs(params)),
            lambda: self._journaled.add_params(model_id, params),
        )

    def delete(self, model_id: str) -> None:
        self._of_model(
            lambda: self._ask("DELETE", _of(model_id)),
            lambda: self._journaled.delete(model_id),
        )

    def find_page(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: str | None,
        datasets: Sequence[Json],
        order_by: Sequence[Json],
        max_results: int,
        page_token: str | None,
    ) -> Page[LoggedModelRecord] | None:
        if self._in_journals(experiment_ids):
            return None
        return self._page(
            experiment_ids=list(experiment_ids),
            filter=filter,
            datasets=list(datasets),
            max_results=max_results,
            order_by=list(order_by),
            page_token=page_token,
        )

    def in_experiments(self, experiment_ids: Sequence[str]) -> list[LoggedModelRecord]:
        found = self._in_journals(experiment_ids)
        token = None
        while True:
            page = self._page(experiment_ids=list(experiment_ids), max_results=_ALL, page_token=token)
            found += page.items
            token = page.next_token
            if not token:
                return found

    def log_inputs(self, run_id: str, datasets: Sequence[Json], model_ids: Sequence[str]) -> None:
        models = [{"model_id": model_id} for model_id in model_ids]
        run_calls.call(self._connection, "log-inputs", {"run_id": run_id, "datasets": list(datasets), "models": models})

    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        given = [{"model_id": model_id, "step": step} for model_id, step in models]
        run_calls.call(self._connection, "outputs", {"run_id": run_id, "models": given})

    def _in_journals(self, experiment_ids: Sequence[str]) -> list[LoggedModelRecord]:
        asked = frozenset(experiment_ids)
        if asked <= self._without_journaled:
            return []
        found = self._journaled.in_experiments(experiment_ids)
        if not found:
            self._without_journaled |= asked
        return found

    def _page(self, **given: Any) -> Page[LoggedModelRecord]:
        answer = self._ask("POST", "/search", **given)
        return Page([_record(message) for message in answer.get("models") or ()], answer.get("next_page_token") or None)

    def _of_model(self, ask: Callable[[], T], in_journal: Callable[[], T]) -> T:
        """Ask the endpoint about a model, and a journal where there is no such model."""
        try:
            return ask()
        except ServiceError as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                return in_journal()
            except AmlStoreError:
                raise error from None

    def _ask(self, method: str, route: str, **given: Any) -> Any:
        path = f"{self._connection.mlflow_path}{_ROUTE}{route}"
        given = {name: value for name, value in given.items() if value is not None}
        if method == "GET":
            return self._connection.request(method, path, params=given)
        return self._connection.request(method, path, json=given or None)


def _of(model_id: str) -> str:
    return f"/{segment(str(model_id))}"


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": str(value)} for name, value in values.items()]


def _texts(pairs: Sequence[Json] | None) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs or ()}


def _record(message: Json) -> LoggedModelRecord:
    info, data = message["info"], message.get("data") or {}
    return LoggedModelRecord(
        model_id=info["model_id"],
        experiment_id=info["experiment_id"],
        name=info["name"],
        model_type=info.get("model_type"),
        status=STATUS[info["status"]],
        status_message=info.get("status_message"),
        source_run_id=info.get("source_run_id"),
        created_ms=info["creation_timestamp_ms"],
        updated_ms=info["last_updated_timestamp_ms"],
        deleted_ms=None,  # which isn't told
        artifact_location=info["artifact_uri"],
        params=_texts(data.get("params")),
        tags=_texts(info.get("tags")),
        metrics=[
            LoggedModelPoint(
                model_id=point.get("model_id") or info["model_id"],
                name=point["key"],
                value=float(point["value"]),
                step=point.get("step", 0),
                timestamp_ms=point["timestamp"],
                run_id=point.get("run_id") or "",
                dataset_name=point.get("dataset_name") or "",
                dataset_digest=point.get("dataset_digest") or "",
            )
            for point in data.get("metrics") or ()
        ],
    )
