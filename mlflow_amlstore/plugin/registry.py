"""MLflow's model registry over a workspace's models. Prompts are in MLflow's base class, which makes models of them."""

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
)
from mlflow.store.model_registry.abstract_store import AbstractStore

from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.plugin import convert_models
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.plugin.local_paths import local_model
from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, upload_container
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.validation import model_version_key
from mlflow_amlstore.workspace.artifact_uri import from_stored_source, to_stored_source
from mlflow_amlstore.workspace.model_source import origin_of_version
from mlflow_amlstore.workspace.opening import open_workspace


@raises_mlflow_errors
class RegistryStore(AbstractStore):
    """A workspace's registered models, for MLflow 2.16 to 3.17."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        self._store_uri, self._tracking_uri = store_uri, tracking_uri
        workspace = open_workspace(store_uri)
        self._records = workspace.records
        self._models = workspace.records.models
        self._root_uri = workspace.root_uri

    def __reduce__(self) -> tuple[type["RegistryStore"], tuple[str, str | None]]:
        return type(self), (self._store_uri, self._tracking_uri)

    # Registered models

    def create_registered_model(
        self,
        name: str,
        tags: Sequence[RegisteredModelTag] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> RegisteredModel:
        """Register a name."""
        record = self._models.create(
            name, description=description, tags=_by_key(tags), deployment_job_id=deployment_job_id
        )
        return convert_models.registered_model(record, self._root_uri)

    def update_registered_model(
        self, name: str, description: str | None, deployment_job_id: str | None = None
    ) -> RegisteredModel:
        """Set the description."""
        record = self._models.update(name, description=description, deployment_job_id=deployment_job_id)
        return convert_models.registered_model(record, self._root_uri)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Rename a model with its versions."""
        record = self._models.rename(name, new_name)
        return convert_models.registered_model(record, self._root_uri)

    def delete_registered_model(self, name: str) -> None:
        """Delete a model with all its versions."""
        self._models.delete(name)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[RegisteredModel]:
        """Return a page of models by name."""
        page = self._models.search(
            filter=grammars.MODELS.parse(filter_string),
            order_by=order_by or (),
            max_results=SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT if max_results is None else max_results,
            page_token=page_token,
        )
        models = [convert_models.registered_model(record, self._root_uri) for record in page.items]
        return PagedList(models, page.next_token)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Return a model."""
        record = self._models.get(name)
        return convert_models.registered_model(record, self._root_uri)

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        """Return the newest version of each stage, or of the stages named."""
        records = self._models.latest_versions(name, stages or ())
        return [convert_models.model_version(record, self._root_uri) for record in records]

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> None:
        """Set a model's tag."""
        self._models.set_tag(name, tag.key, tag.value)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a model's tag, if it has it."""
        self._models.delete_tag(name, key)

    def set_registered_model_alias(self, name: str, alias: str, version: int | str) -> None:
        """Point an alias at a version."""
        self._models.set_alias(name, alias, model_version_key(version))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias, if there is one."""
        self._models.delete_alias(name, alias)

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
        """Add the next version of a model. A source on this machine is copied into the workspace."""
        if not isinstance(source, str):
            raise InvalidValue("model source", source, "must be a URI, as a string")
        local = local_model(source)
        if local is not None:
            source_name, items = local
            container = upload_container(uuid.uuid4().hex)
            self._records.files.write_local(container, items)
            source = f"{WORKSPACE_SCHEME}{container}/{source_name}"
        stored_source = to_stored_source(self._root_uri, source)
        origin = origin_of_version(self._records, stored_source, run_id, model_id)
        record = self._models.create_version(
            name,
            stored_source,
            storage_location=origin.storage_location,
            run_id=origin.run_id,
            run_link=run_link,
            description=description,
            model_id=origin.model_id,
            tags=_by_key(tags),
        )
        return convert_models.model_version(record, self._root_uri)

    def update_model_version(self, name: str, version: int | str, description: str | None = None) -> ModelVersion:
        """Set a version's description."""
        record = self._models.update_version(name, model_version_key(version), description=description)
        return convert_models.model_version(record, self._root_uri)

    def transition_model_version_stage(
        self, name: str, version: int | str, stage: str, archive_existing_versions: bool
    ) -> ModelVersion:
        """Move a version to a stage, and on request the versions that are there to Archived."""
        record = self._models.set_stage(
            name, model_version_key(version), stage, archive_existing=archive_existing_versions
        )
        return convert_models.model_version(record, self._root_uri)

    def delete_model_version(self, name: str, version: int | str) -> None:
        """Delete a version with its aliases."""
        self._models.delete_version(name, model_version_key(version))

    def get_model_version(self, name: str, version: int | str) -> ModelVersion:
        """Return a version."""
        record = self._models.get_version(name, model_version_key(version))
        return convert_models.model_version(record, self._root_uri)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias points at; `latest` is the newest."""
        record = self._models.get_version_by_alias(name, alias)
        return convert_models.model_version(record, self._root_uri)

    def get_model_version_download_uri(self, name: str, version: int | str) -> str:
        """Return where a version's files are."""
        record = self._models.get_version(name, model_version_key(version))
        return from_stored_source(self._root_uri, record.storage_location)

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[ModelVersion]:
        """Return a page of versions."""
        page = self._models.search_versions(
            filter=grammars.VERSIONS.parse(filter_string).with_values(
                "source_path", partial(to_stored_source, self._root_uri)
            ),
            order_by=order_by or (),
            max_results=SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT if max_results is None else max_results,
            page_token=page_token,
        )
        versions = [convert_models.model_version(record, self._root_uri) for record in page.items]
        return PagedList(versions, page.next_token)

    def set_model_version_tag(self, name: str, version: int | str, tag: ModelVersionTag) -> None:
        """Set a version's tag."""
        self._models.set_version_tag(name, model_version_key(version), tag.key, tag.value)

    def delete_model_version_tag(self, name: str, version: int | str, key: str) -> None:
        """Delete a version's tag, if it has it."""
        self._models.delete_version_tag(name, model_version_key(version), key)

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: int) -> None:
        """Return at once: a version is READY when it is made."""

    # MLflow's server asks for webhooks after every change, so listing them works: there are none.

    def list_webhooks(self, *_: Any, **__: Any) -> PagedList[Any]:
        """Return no webhooks."""
        return PagedList([], None)

    list_webhooks_by_event = list_webhooks

    def create_webhook(self, *_: Any, **__: Any) -> Any:
        """Raise MlflowException (NOT_IMPLEMENTED)."""
        raise NotSupported("Calling a webhook when a model changes", "Search the models for changes instead")

    get_webhook = update_webhook = delete_webhook = test_webhook = create_webhook


def _by_key(tags: Sequence[RegisteredModelTag] | Sequence[ModelVersionTag] | None) -> dict[str, str]:
    return {tag.key: tag.value for tag in tags or ()}
