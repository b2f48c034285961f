"""MLflow's model registry over a workspace service: MLflow's own REST client, on our connection.

What returns models or versions goes past protobuf (`remote_models`); the rest is MLflow's.
"""

from collections.abc import Sequence
from typing import Any

from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.rest_store import RestStore

from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import HostCredentials, OnConnection, call
from mlflow_amlstore.plugin.remote_models import model_version, registered_model
from mlflow_amlstore.workspace.connection import Connection, connection_of

_API = "/api/2.0/mlflow"


def registry_store_of(store_uri: str) -> "RemoteRegistryStore":
    """The registry of the service that a tracking URI names. Takes no network."""
    with as_mlflow_errors():
        return RemoteRegistryStore(connection_of(store_uri))


class RemoteRegistryStore(OnConnection, RestStore):
    """A service's registered models. Safe across threads, fork and pickling."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        super().__init__(HostCredentials(connection))
        self.connection = connection

    def __reduce__(self) -> tuple[type["RemoteRegistryStore"], tuple[Connection]]:
        return type(self), (self.connection,)

    def _call_endpoint(
        self, api: Any, json_body: str | None, call_all_endpoints: bool = False, extra_headers: Any = None
    ) -> Any:
        endpoint, method = self._get_endpoint_from_method(api)
        return self._call_proto(method, endpoint, json_body, self._get_response_from_method(api))

    def _call_webhook_endpoint(self, api: Any, json_body: str | None = None, webhook_id: str | None = None) -> Any:
        endpoint, method = self._get_webhook_endpoint_from_method(api)
        path = endpoint.format(webhook_id=webhook_id) if webhook_id else endpoint
        return self._call_proto(method, path, json_body, self._get_response_from_method(api))

    def _model(self, method: str, action: str, given: dict[str, Any]) -> RegisteredModel:
        answer = call(self.connection, method, f"{_API}/registered-models/{action}", given)
        return registered_model(answer["registered_model"])

    def _version(self, method: str, route: str, given: dict[str, Any]) -> ModelVersion:
        return model_version(call(self.connection, method, f"{_API}/{route}", given)["model_version"])

    # Registered models

    def create_registered_model(
        self,
        name: str,
        tags: Sequence[RegisteredModelTag] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> RegisteredModel:
        given = {"name": name, "description": description, "deployment_job_id": deployment_job_id}
        return self._model("POST", "create", {**given, "tags": _pairs(tags)})

    def update_registered_model(
        self, name: str, description: str | None, deployment_job_id: str | None = None
    ) -> RegisteredModel:
        given = {"name": name, "description": description, "deployment_job_id": deployment_job_id}
        return self._model("PATCH", "update", given)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        return self._model("POST", "rename", {"name": name, "new_name": new_name})

    def get_registered_model(self, name: str) -> RegisteredModel:
        return self._model("GET", "get", {"name": name})

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[RegisteredModel]:
        given = _search(filter_string, max_results, order_by, page_token)
        answer = call(self.connection, "GET", f"{_API}/registered-models/search", given)
        models = [registered_model(message) for message in answer.get("registered_models") or ()]
        return PagedList(models, answer.get("next_page_token") or None)

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        given = {"name": name, "stages": list(stages or ())}
        answer = call(self.connection, "POST", f"{_API}/registered-models/get-latest-versions", given)
        return [model_version(message) for message in answer.get("model_versions") or ()]

    # Versions

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Sequence[ModelVersionTag] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,  # not needed: the files are in the workspace
        model_id: str | None = None,
    ) -> ModelVersion:
        given = {"name": name, "source": source, "run_id": run_id, "run_link": run_link, "description": description}
        return self._version("POST", "model-versions/create", {**given, "model_id": model_id, "tags": _pairs(tags)})

    def transition_model_version_stage(
        self, name: str, version: int | str, stage: str, archive_existing_versions: bool
    ) -> ModelVersion:
        given = {"name": name, "version": str(version), "stage": stage}
        return self._version(
            "POST",
            "model-versions/transition-stage",
            {**given, "archive_existing_versions": archive_existing_versions},
        )

    def update_model_version(self, name: str, version: int | str, description: str | None = None) -> ModelVersion:
        given = {"name": name, "version": str(version), "description": description}
        return self._version("PATCH", "model-versions/update", given)

    def get_model_version(self, name: str, version: int | str) -> ModelVersion:
        return self._version("GET", "model-versions/get", {"name": name, "version": str(version)})

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        return self._version("GET", "registered-models/alias", {"name": name, "alias": alias})

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[ModelVersion]:
        given = _search(filter_string, max_results, order_by, page_token)
        answer = call(self.connection, "GET", f"{_API}/model-versions/search", given)
        versions = [model_version(message) for message in answer.get("model_versions") or ()]
        return PagedList(versions, answer.get("next_page_token") or None)

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: int) -> None:
        """Return at once: a version is READY when it is made."""


def _pairs(tags: Sequence[RegisteredModelTag] | Sequence[ModelVersionTag] | None) -> list[dict[str, str]]:
    return [{"key": tag.key, "value": str(tag.value)} for tag in tags or ()]


def _search(
    filter_string: str | None, max_results: int | None, order_by: Sequence[str] | None, page_token: str | None
) -> dict[str, Any]:
    return {
        "filter": filter_string,
        "max_results": max_results,
        "order_by": list(order_by or ()),
        "page_token": page_token,
    }
