"""MLflow's model registry over a workspace service: MLflow's own REST client, on our connection.

What returns models or versions goes past protobuf (`remote_models`); the rest is MLflow's.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.rest_store import RestStore

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.files.local_upload import upload_model
from mlflow_amlstore.client.logged_models.of_connection import logged_models_of
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors, raises_mlflow_errors
from mlflow_amlstore.plugin.local_paths import local_model
from mlflow_amlstore.plugin.remote_calls import HostCredentials, OnConnection, call
from mlflow_amlstore.plugin.remote_models import MODEL_ID_TAG, model_version, registered_model
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.prompts import PROMPT_TAG, asks_for_prompts

_API = "/api/2.0/mlflow"
_ALL = 1000
_DEFAULT = {"registered-models": 100, "model-versions": 10_000}
_GRAMMARS = {"registered-models": grammars.MODELS, "model-versions": grammars.VERSIONS}
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
_TAG: Callable[[str, str], ModelVersionTag] = ModelVersionTag


@as_mlflow_errors()
def registry_store_of(store_uri: str) -> "RemoteRegistryStore":
    """The registry of the service that a tracking URI names. Takes no network."""
    return RemoteRegistryStore(connection_of(store_uri))


@raises_mlflow_errors
class RemoteRegistryStore(OnConnection, RestStore):
    """A service's registered models. Safe across threads, fork and pickling."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        super().__init__(HostCredentials(connection))
        self.connection = connection
        self._client_side_tokens: set[str] = set()

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
        return self._searched("registered-models", filter_string, max_results, order_by, page_token)

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
        """A source on this machine is uploaded. One that is a logged model which its run keeps is sent as the run's."""
        more_tags: dict[str, str] = {}
        local = local_model(source)
        if local is not None:
            source = upload_model(self.connection, *local)
        elif source.startswith("models:/m-"):
            model = logged_models_of(self.connection).find_in_run(source.rpartition("/")[2])
            if model is not None:
                source, run_id, model_id = model.artifact_location or source, run_id or model.source_run_id, None
                more_tags[MODEL_ID_TAG] = model.model_id
        tags = [*(tags or ()), *(_TAG(name, value) for name, value in more_tags.items())]
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
        return self._searched("model-versions", filter_string, max_results, order_by, page_token)

    def _searched(
        self,
        kind: str,
        filter: str | None,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> PagedList[Any]:
        """A page of a search; where the workspace refuses it, all of the kind are fetched and searched here."""
        is_ours = page_token is not None and page_token in self._client_side_tokens
        if not is_ours:
            try:
                return self._asked(kind, filter, max_results, order_by, page_token, meant=filter)
            except MlflowException as error:
                if self.connection.limits is None or not (filter or order_by) or error.error_code not in _REFUSALS:
                    raise
        everything: list[Any] = []
        token = None
        while True:
            page = self._asked(kind, None, _ALL, None, token, meant=filter)
            everything += page
            token = page.token
            if not token:
                break
        from mlflow_amlstore.plugin import client_side_search  # few need it

        narrow = (
            client_side_search.filtered_models if kind == "registered-models" else client_side_search.filtered_versions
        )
        found = client_side_search.page_of(
            narrow(everything, filter, order_by), max_results or _DEFAULT[kind], page_token
        )
        if found.token:
            self._client_side_tokens.add(found.token)
        return found

    def _asked(
        self,
        kind: str,
        filter: str | None,
        max_results: int | None,
        order_by: Sequence[str] | None,
        token: str | None,
        *,
        meant: str | None,
    ) -> PagedList[Any]:
        """A page of what the workspace finds, without the prompts, which Azure ML takes for models, where the filter
        that is meant doesn't ask for them."""
        given = {"filter": filter, "max_results": max_results, "order_by": list(order_by or ()), "page_token": token}
        answer = call(self.connection, "GET", f"{_API}/{kind}/search", given)
        messages = answer.get(kind.replace("-", "_")) or ()
        if self.connection.limits is not None and not asks_for_prompts(_GRAMMARS[kind].parse(meant).comparisons):
            messages = [message for message in messages if not _is_prompt(message)]
        read: Callable[[Any], Any] = registered_model if kind == "registered-models" else model_version
        return PagedList([read(message) for message in messages], answer.get("next_page_token") or None)

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: int) -> None:
        """Return at once: a version is READY when it is made."""


def _is_prompt(message: Any) -> bool:
    """Whether the message is of a prompt, or of a version of one."""
    return any(tag["key"] == PROMPT_TAG and tag.get("value") == "true" for tag in message.get("tags") or ())


def _pairs(tags: Sequence[RegisteredModelTag] | Sequence[ModelVersionTag] | None) -> list[dict[str, str]]:
    return [{"key": tag.key, "value": str(tag.value)} for tag in tags or ()]
