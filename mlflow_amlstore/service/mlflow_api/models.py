"""MLflow's registered models and aliases. Prompts are registered models with MLflow's prompt tag."""

import msgspec

from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import ModelRecord
from mlflow_amlstore.records.validation import model_version_key
from mlflow_amlstore.service.mlflow_api.fields import Given, KeyValue, by_key, key_values
from mlflow_amlstore.service.mlflow_api.model_versions import (
    ModelSearch,
    ModelVersion,
    ModelVersionAnswer,
    Version,
    model_version,
)
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.uris import Uris

routes = Routes(Area.MLFLOW)

_DEFAULT_MAX_RESULTS = 100


class CreateRegisteredModel(msgspec.Struct):
    """A new registered model."""

    name: Given
    tags: list[KeyValue] | None = None
    description: str | None = None
    deployment_job_id: str | None = None


class OfRegisteredModel(msgspec.Struct):
    """A request about a registered model."""

    name: Given


class RenameRegisteredModel(msgspec.Struct):
    """A registered model's new name."""

    name: Given
    new_name: Given


class UpdateRegisteredModel(msgspec.Struct):
    """A registered model's new description."""

    name: Given
    description: str | None = None
    deployment_job_id: str | None = None


class GetLatestVersions(msgspec.Struct):
    """A registered model, and the stages that matter; all of them where none is named."""

    name: Given
    stages: list[str] = []


class SetRegisteredModelTag(msgspec.Struct):
    """A tag of a registered model."""

    name: Given
    key: Given
    value: str = ""


class DeleteRegisteredModelTag(msgspec.Struct):
    """A tag of a registered model, by its name."""

    name: Given
    key: Given


class SetRegisteredModelAlias(msgspec.Struct):
    """An alias and the version that it shall point at."""

    name: Given
    alias: Given
    version: Version


class OfAlias(msgspec.Struct):
    """A request about an alias."""

    name: Given
    alias: Given


class Alias(msgspec.Struct, frozen=True, gc=False):
    """An alias and the number of its version, as text."""

    alias: str
    version: str


class RegisteredModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered model as MLflow has it."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None
    latest_versions: list[ModelVersion] = []
    tags: list[KeyValue] = []
    aliases: list[Alias] = []
    deployment_job_id: str | None = None


class RegisteredModelAnswer(msgspec.Struct, frozen=True):
    """One registered model."""

    registered_model: RegisteredModel


class RegisteredModels(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of registered models."""

    registered_models: list[RegisteredModel] = []
    next_page_token: str | None = None


class LatestVersions(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest versions."""

    model_versions: list[ModelVersion] = []


@routes.post("/api/2.0/mlflow/registered-models/create", Role.CONTRIBUTOR, Right.TRACK)
def create_registered_model(call: Call, body: CreateRegisteredModel) -> RegisteredModelAnswer:
    """Register a model's name."""
    record = call.records.models.create(
        body.name,
        description=body.description,
        tags=by_key(body.tags),
        deployment_job_id=body.deployment_job_id or None,
    )
    return RegisteredModelAnswer(_registered_model(call.uris, record))


@routes.get("/api/2.0/mlflow/registered-models/get", Role.READER, Right.TRACK)
def get_registered_model(call: Call, body: OfRegisteredModel) -> RegisteredModelAnswer:
    """Return a registered model with its newest versions."""
    return RegisteredModelAnswer(_registered_model(call.uris, call.records.models.get(body.name)))


@routes.post("/api/2.0/mlflow/registered-models/rename", Role.CONTRIBUTOR, Right.TRACK)
def rename_registered_model(call: Call, body: RenameRegisteredModel) -> RegisteredModelAnswer:
    """Rename a registered model with its versions."""
    return RegisteredModelAnswer(_registered_model(call.uris, call.records.models.rename(body.name, body.new_name)))


@routes.patch("/api/2.0/mlflow/registered-models/update", Role.CONTRIBUTOR, Right.TRACK)
def update_registered_model(call: Call, body: UpdateRegisteredModel) -> RegisteredModelAnswer:
    """Set a registered model's description."""
    record = call.records.models.update(
        body.name, description=body.description, deployment_job_id=body.deployment_job_id or None
    )
    return RegisteredModelAnswer(_registered_model(call.uris, record))


@routes.delete("/api/2.0/mlflow/registered-models/delete", Role.CONTRIBUTOR, Right.TRACK)
def delete_registered_model(call: Call, body: OfRegisteredModel) -> None:
    """Delete a registered model with all its versions."""
    call.records.models.delete(body.name)


@routes.get("/api/2.0/mlflow/registered-models/search", Role.READER, Right.TRACK, is_long=True)
def search_registered_models(call: Call, body: ModelSearch) -> RegisteredModels:
    """Return a page of registered models."""
    page = call.records.models.search(
        filter=grammars.MODELS.parse(body.filter),
        order_by=body.order_by,
        max_results=_DEFAULT_MAX_RESULTS if body.max_results is None else body.max_results,
        page_token=body.page_token or None,
    )
    return RegisteredModels([_registered_model(call.uris, record) for record in page.items], page.next_token)


@routes.get("/api/2.0/mlflow/registered-models/get-latest-versions", Role.READER, Right.TRACK)
@routes.post("/api/2.0/mlflow/registered-models/get-latest-versions", Role.READER, Right.TRACK)
def get_latest_versions(call: Call, body: GetLatestVersions) -> LatestVersions:
    """Return the newest version of each stage, or of the stages named."""
    records = call.records.models.latest_versions(body.name, body.stages)
    return LatestVersions([model_version(call.uris, record) for record in records])


@routes.post("/api/2.0/mlflow/registered-models/set-tag", Role.CONTRIBUTOR, Right.TRACK)
def set_registered_model_tag(call: Call, body: SetRegisteredModelTag) -> None:
    """Set a registered model's tag."""
    call.records.models.set_tag(body.name, body.key, body.value)


@routes.delete("/api/2.0/mlflow/registered-models/delete-tag", Role.CONTRIBUTOR, Right.TRACK)
def delete_registered_model_tag(call: Call, body: DeleteRegisteredModelTag) -> None:
    """Delete a registered model's tag, if it has it."""
    call.records.models.delete_tag(body.name, body.key)


@routes.post("/api/2.0/mlflow/registered-models/alias", Role.CONTRIBUTOR, Right.TRACK)
def set_registered_model_alias(call: Call, body: SetRegisteredModelAlias) -> None:
    """Point an alias at a version."""
    call.records.models.set_alias(body.name, body.alias, model_version_key(body.version))


@routes.delete("/api/2.0/mlflow/registered-models/alias", Role.CONTRIBUTOR, Right.TRACK)
def delete_registered_model_alias(call: Call, body: OfAlias) -> None:
    """Delete an alias, if there is one."""
    call.records.models.delete_alias(body.name, body.alias)


@routes.get("/api/2.0/mlflow/registered-models/alias", Role.READER, Right.TRACK)
def get_model_version_by_alias(call: Call, body: OfAlias) -> ModelVersionAnswer:
    """Return the version that an alias points at; `latest` is the newest."""
    return ModelVersionAnswer(model_version(call.uris, call.records.models.get_version_by_alias(body.name, body.alias)))


def _registered_model(uris: Uris, record: ModelRecord) -> RegisteredModel:
    return RegisteredModel(
        name=record.name,
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        description=record.description or None,
        latest_versions=[model_version(uris, version) for version in record.latest_versions],
        tags=key_values(record.tags),
        aliases=[Alias(alias, str(version)) for alias, version in record.aliases.items()],
        deployment_job_id=record.deployment_job_id or None,
    )
