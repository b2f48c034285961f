"""Versions of MLflow's registered models."""

import json
import re

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.models import MAX_VERSIONS
from mlflow_amlstore.records.types import ModelVersionRecord
from mlflow_amlstore.records.validation import model_version_key
from mlflow_amlstore.service.mlflow_api.fields import Given, KeyValue, by_key, json_list_as_tag, key_values
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.uris import Uris
from mlflow_amlstore.workspace.model_source import origin_of_version

routes = Routes(Area.MLFLOW)

_RUN_SOURCE = re.compile(r"runs:/+(?P<run>[^/]+)")
_VERSIONS_TAG = "mlflow.modelVersions"

Version = Given | int


class CreateModelVersion(msgspec.Struct):
    """A new version; `source` is where its files are."""

    name: Given
    source: Given
    run_id: str | None = None
    tags: list[KeyValue] | None = None
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None


class OfVersion(msgspec.Struct):
    """A request about a version."""

    name: Given
    version: Version


class UpdateModelVersion(msgspec.Struct):
    """A version's new description."""

    name: Given
    version: Version
    description: str | None = None


class TransitionStage(msgspec.Struct):
    """A version's new stage."""

    name: Given
    version: Version
    stage: Given
    archive_existing_versions: bool | None = None


class ModelSearch(msgspec.Struct):
    """A search of models or versions; `filter` and `order_by` are MLflow's grammar."""

    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str | None = None


class SetVersionTag(msgspec.Struct):
    """A tag of a version."""

    name: Given
    version: Version
    key: Given
    value: str = ""


class DeleteVersionTag(msgspec.Struct):
    """A tag of a version, by its name."""

    name: Given
    version: Version
    key: Given


class ModelVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """`version` is a number, as text."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    source: str
    status: str
    user_id: str | None = None
    description: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    status_message: str | None = None
    tags: list[KeyValue] = []
    aliases: list[str] = []
    model_id: str | None = None


class ModelVersionAnswer(msgspec.Struct, frozen=True):
    """One version."""

    model_version: ModelVersion


class ModelVersions(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of versions."""

    model_versions: list[ModelVersion] = []
    next_page_token: str | None = None


class DownloadUri(msgspec.Struct, frozen=True):
    """Where a version's files are."""

    artifact_uri: str


@routes.post("/api/2.0/mlflow/model-versions/create", Role.CONTRIBUTOR, Right.TRACK)
def create_model_version(call: Call, body: CreateModelVersion) -> ModelVersionAnswer:
    """Add the next version of a registered model. A source that names a run names that of `run_id`, as in MLflow."""
    of_run = _RUN_SOURCE.match(body.source)
    if of_run is not None and of_run["run"] != body.run_id:
        raise InvalidValue("run_id", body.run_id, f"must name the run that the source names, {of_run['run']}")
    source = call.uris.to_stored(body.source)
    origin = origin_of_version(call.records, source, body.run_id or None, body.model_id or None)
    record = call.records.models.create_version(
        body.name,
        source,
        storage_location=origin.storage_location,
        run_id=origin.run_id,
        run_link=body.run_link or None,
        description=body.description or "",
        model_id=origin.model_id,
        tags=by_key(body.tags),
    )
    if origin.model_id:
        _tag_logged_model(call, origin.model_id, record)
    return ModelVersionAnswer(model_version(call.uris, record))


@routes.get("/api/2.0/mlflow/model-versions/get", Role.READER, Right.TRACK)
def get_model_version(call: Call, body: OfVersion) -> ModelVersionAnswer:
    """Return a version."""
    record = call.records.models.get_version(body.name, model_version_key(body.version))
    return ModelVersionAnswer(model_version(call.uris, record))


@routes.get("/api/2.0/mlflow/model-versions/get-download-uri", Role.READER, Right.TRACK)
def get_model_version_download_uri(call: Call, body: OfVersion) -> DownloadUri:
    """Return where a version's files are."""
    record = call.records.models.get_version(body.name, model_version_key(body.version))
    return DownloadUri(call.uris.from_stored(record.storage_location))


@routes.get("/api/2.0/mlflow/model-versions/search", Role.READER, Right.TRACK, is_long=True)
def search_model_versions(call: Call, body: ModelSearch) -> ModelVersions:
    """Return a page of versions."""
    page = call.records.models.search_versions(
        filter=grammars.VERSIONS.parse(body.filter).with_values("source_path", call.uris.compared_source),
        order_by=body.order_by,
        max_results=MAX_VERSIONS if body.max_results is None else body.max_results,
        page_token=body.page_token or None,
    )
    return ModelVersions([model_version(call.uris, record) for record in page.items], page.next_token)


@routes.patch("/api/2.0/mlflow/model-versions/update", Role.CONTRIBUTOR, Right.TRACK)
def update_model_version(call: Call, body: UpdateModelVersion) -> ModelVersionAnswer:
    """Set a version's description."""
    version = model_version_key(body.version)
    record = call.records.models.update_version(body.name, version, description=body.description)
    return ModelVersionAnswer(model_version(call.uris, record))


@routes.post("/api/2.0/mlflow/model-versions/transition-stage", Role.CONTRIBUTOR, Right.TRACK)
def transition_model_version_stage(call: Call, body: TransitionStage) -> ModelVersionAnswer:
    """Move a version to a stage, and on request the versions that are there to Archived."""
    record = call.records.models.set_stage(
        body.name,
        model_version_key(body.version),
        body.stage,
        archive_existing=bool(body.archive_existing_versions),
    )
    return ModelVersionAnswer(model_version(call.uris, record))


@routes.delete("/api/2.0/mlflow/model-versions/delete", Role.CONTRIBUTOR, Right.TRACK)
def delete_model_version(call: Call, body: OfVersion) -> None:
    """Delete a version with its aliases."""
    call.records.models.delete_version(body.name, model_version_key(body.version))


@routes.post("/api/2.0/mlflow/model-versions/set-tag", Role.CONTRIBUTOR, Right.TRACK)
def set_model_version_tag(call: Call, body: SetVersionTag) -> None:
    """Set a version's tag."""
    call.records.models.set_version_tag(body.name, model_version_key(body.version), body.key, body.value)


@routes.delete("/api/2.0/mlflow/model-versions/delete-tag", Role.CONTRIBUTOR, Right.TRACK)
def delete_model_version_tag(call: Call, body: DeleteVersionTag) -> None:
    """Delete a version's tag, if it has it."""
    call.records.models.delete_version_tag(body.name, model_version_key(body.version), body.key)


def model_version(uris: Uris, record: ModelVersionRecord) -> ModelVersion:
    """A version as MLflow has it."""
    return ModelVersion(
        name=record.name,
        version=str(record.version),
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        current_stage=record.stage,
        source=uris.from_stored(record.source),
        status=record.status,
        user_id=record.user_id,
        description=record.description,
        run_id=record.run_id,
        run_link=record.run_link,
        status_message=record.status_message or None,
        tags=key_values(record.tags),
        aliases=record.aliases,
        model_id=record.model_id,
    )


def _tag_logged_model(call: Call, model_id: str, version: ModelVersionRecord) -> None:
    """List the version in the logged model's tag, as MLflow's server does: MLflow's UI shows it there."""
    known = call.records.logged_models.get(model_id).tags.get(_VERSIONS_TAG, "[]")
    text = json_list_as_tag([*json.loads(known), {"name": version.name, "version": version.version}])
    call.records.logged_models.set_tags(model_id, {_VERSIONS_TAG: text})
