"""Registered models, as Azure ML's SDK has them: an asset is a file or folder, and a model's version is made of one.

Assets aren't stored. The id of an asset is the location of its file or folder, encoded.
"""

import base64
import binascii
import re
from typing import Any
from urllib.parse import urlencode

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound, NotSupported
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN, UPLOAD_ORIGIN, artifact_id
from mlflow_amlstore.protocol.times import iso_time_or_none
from mlflow_amlstore.records.locations import (
    WORKSPACE_SCHEME,
    check_location,
    is_in_snapshot,
    split_location,
    upload_container,
)
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import (
    FRAMEWORK_PROPERTY,
    FRAMEWORK_VERSION_PROPERTY,
    ModelFilter,
    ModelVersionRecord,
)
from mlflow_amlstore.service.files.azure_artifacts import address_of
from mlflow_amlstore.service.files.containers import container_of_owner
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.page_size import page_size
from mlflow_amlstore.service.run_history.run_dto import CreatedBy

ROUTES = Routes(Area.MODEL_MANAGEMENT)

_ASSET_URL = "aml://asset/"
_SERVICE = "modelmanagement/v1.0"
_PAGE = 255
_VERSION = re.compile(r"[0-9]{1,18}")
_TAGS, _PROPERTIES, _DESCRIPTION = "kvTags", "properties", "description"


class ArtifactOfAsset(msgspec.Struct, frozen=True):
    """A file by its id, or a file or folder by its prefix: both are ORIGIN/CONTAINER/PATH."""

    id: str | None = None
    prefix: str | None = None


class AssetDto(msgspec.Struct, frozen=True, rename="camel"):
    """Files to be registered; `runid` is Azure's spelling."""

    name: str
    artifacts: list[ArtifactOfAsset]
    id: str | None = None
    type: str | None = None
    description: str | None = None
    kv_tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    runid: str | None = None
    meta: dict[str, str] | None = None
    created_time: str | None = None


class AssetPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of assets."""

    value: list[AssetDto]
    continuation_token: str | None
    next_link: str | None


class NewModel(msgspec.Struct, frozen=True, rename="camel"):
    """A version to register: the next one of its name."""

    name: str
    url: str
    mime_type: str | None = None
    description: str | None = None
    framework: str | None = None
    framework_version: str | None = None
    run_id: str | None = None
    unpack: bool | None = None
    kv_tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    datasets: list[dict[str, Any]] | None = None


class ModelDto(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a model. `id` is NAME:VERSION."""

    id: str
    name: str
    version: int
    url: str
    description: str | None
    framework: str | None
    framework_version: str | None
    run_id: str | None
    experiment_name: str | None
    kv_tags: dict[str, str]
    properties: dict[str, str]
    created_time: str | None
    modified_time: str | None
    created_by: CreatedBy
    mime_type: str = "application/json"
    unpack: bool = False
    datasets: list[dict[str, Any]] = []
    derived_model_ids: list[str] = []


class ModelQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which versions; `tags` and `properties` are as `name,name=value`."""

    name: str | None = None
    tag: str | None = None
    tags: str | None = None
    properties: str | None = None
    framework: str | None = None
    run_id: str | None = None
    dataset_id: str | None = None
    latest_version_only: bool = False
    count: int = _PAGE
    skip_token: str | None = msgspec.field(name="$skipToken", default=None)
    continuation_token: str | None = None


class ModelPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of versions. `nextLink` has the token as `$skipToken`, where azureml-core looks for it."""

    value: list[ModelDto]
    continuation_token: str | None
    next_link: str | None


class Operation(msgspec.Struct, frozen=True):
    """One of JSON Patch (RFC 6902): `add`, `replace` or `remove`."""

    op: str
    path: str
    value: Any = None


@ROUTES.post("/assets", Role.CONTRIBUTOR, Right.TRACK)
def create_asset(call: Call, body: AssetDto) -> AssetDto:
    """Name a file or folder, so that it can be registered."""
    places = [artifact.prefix or artifact.id or "" for artifact in body.artifacts]
    if len(places) != 1:
        raise InvalidValue("artifacts", f"{len(places)} artifacts", "must be one file or folder")
    return _asset(_location(call.records, places[0]), body.name, body.runid)


@ROUTES.get("/assets", Role.READER, Right.TRACK, is_long=True)
def list_assets(call: Call, body: ModelQuery) -> AssetPage:
    """List what was registered, as assets."""
    found, token, link = _found(call, body, "assets")
    located = [(record, call.records.models.location_of(record)) for record in found]
    return AssetPage(
        [_asset(location, record.name, record.run_id) for record, location in located if location], token, link
    )


@ROUTES.get("/assets/{asset}", Role.READER, Right.TRACK)
def get_asset(call: Call) -> AssetDto:
    """Tell which file or folder an asset is."""
    location = _location_of_asset(call.path["asset"])
    return _asset(location, location.rpartition("/")[2])


@ROUTES.post("/models", Role.CONTRIBUTOR, Right.TRACK)
def register(call: Call, body: NewModel) -> ModelDto:
    """Register an asset as the next version of a model, which is made where there is none of the name."""
    if not body.url.startswith(_ASSET_URL):
        raise InvalidValue("url", body.url, f"must be that of an asset, {_ASSET_URL}ID; make one of the files first")
    if body.datasets:
        raise NotSupported("Registering a model with datasets", "Register it without")
    if body.unpack:
        raise NotSupported("Registering a packed model", "Register its folder")
    location = _location_of_asset(body.url.removeprefix(_ASSET_URL))
    _check_files(call.records, location)
    if body.run_id:
        call.records.runs.get(body.run_id)
    frameworks = {FRAMEWORK_PROPERTY: body.framework, FRAMEWORK_VERSION_PROPERTY: body.framework_version}
    record = call.records.models.register(
        body.name,
        WORKSPACE_SCHEME + location,
        run_id=body.run_id or None,
        description=body.description,
        tags=body.kv_tags,
        properties={
            **(body.properties or {}),
            **{name: value for name, value in frameworks.items() if value is not None},
        },
    )
    return _dtos(call.records, [record])[0]


@ROUTES.get("/models", Role.READER, Right.TRACK, is_long=True)
def list_models(call: Call, body: ModelQuery) -> ModelPage:
    """List versions by name, the newest of each first."""
    found, token, link = _found(call, body, "models")
    return ModelPage(_dtos(call.records, found), token, link)


@ROUTES.get("/models/{model}", Role.READER, Right.TRACK)
def get_model(call: Call) -> ModelDto:
    """Tell of a version, named by its id NAME:VERSION."""
    return _dtos(call.records, [call.records.models.get_version(*_name_and_number(call))])[0]


@ROUTES.patch("/models/{model}", Role.CONTRIBUTOR, Right.TRACK)
def change_model(call: Call, body: list[Operation]) -> ModelDto:
    """Change a version's tags and description, and add properties, which are written once."""
    for operation in body:
        _apply(call, *_name_and_number(call), operation)
    return get_model(call)


@ROUTES.delete("/models/{model}", Role.CONTRIBUTOR, Right.TRACK)
def delete_model(call: Call) -> None:
    """Delete a version; its files stay."""
    call.records.models.delete_version(*_name_and_number(call))


def _found(call: Call, query: ModelQuery, what: str) -> tuple[list[ModelVersionRecord], str | None, str | None]:
    """A page of versions, the next page's token, and its address."""
    if query.dataset_id is not None:  # no model here has datasets
        return [], None, None
    properties = _wanted(query.properties)
    if query.framework is not None:
        properties[FRAMEWORK_PROPERTY] = query.framework
    tags = _wanted(query.tags) | ({} if query.tag is None else {query.tag: None})
    filter = ModelFilter(query.name, query.run_id, tags, properties, query.latest_version_only)
    token = query.skip_token or query.continuation_token
    size = min(page_size("count", query.count, _PAGE), _PAGE)
    page = call.records.models.find_versions(filter, max_results=size, page_token=token)
    link = (
        None
        if page.next_token is None
        else f"{address_of(call, _SERVICE, f'/{what}')}?{urlencode({'$skipToken': page.next_token})}"
    )
    return list(page.items), page.next_token, link


def _wanted(text: str | None) -> dict[str, str | None]:
    wanted: dict[str, str | None] = {}
    for term in (text or "").split(","):
        name, equals, value = term.partition("=")
        if name:
            wanted[name] = value if equals else None
    return wanted


def _name_and_number(call: Call) -> tuple[str, int]:
    name, _, number = call.path["model"].rpartition(":")
    if not name or not _VERSION.fullmatch(number):
        raise InvalidValue("model id", call.path["model"], "must be NAME:VERSION")
    return name, int(number)


def _apply(call: Call, name: str, number: int, operation: Operation) -> None:
    models = call.records.models
    _, *pointer = (part.replace("~1", "/").replace("~0", "~") for part in operation.path.split("/"))
    is_removal = operation.op == "remove"
    if not is_removal and operation.op not in ("add", "replace"):
        raise InvalidValue("op", operation.op, "must be add, replace or remove")
    match pointer:
        case [part, key] if part == _TAGS:
            if is_removal:
                models.delete_version_tag(name, number, key)
            else:
                models.set_version_tag(name, number, key, _text(operation))
        case [part] if part == _TAGS:
            tags = {} if is_removal else _texts(operation)
            for gone in models.get_version(name, number).tags.keys() - tags.keys():
                models.delete_version_tag(name, number, gone)
            for key, value in tags.items():
                models.set_version_tag(name, number, key, value)
        case [part, key] if part == _PROPERTIES and not is_removal:
            models.add_version_properties(name, number, {key: _text(operation)})
        case [part] if part == _PROPERTIES and not is_removal:
            models.add_version_properties(name, number, _texts(operation))
        case [part] if part == _DESCRIPTION:
            models.update_version(name, number, description=None if is_removal else _text(operation))
        case _:
            known = f"/{_TAGS}, /{_TAGS}/NAME, /{_DESCRIPTION}, and to add /{_PROPERTIES}, /{_PROPERTIES}/NAME"
            raise InvalidValue("path", operation.path, f"what can be changed of a model is {known}")


def _text(operation: Operation) -> str:
    if not isinstance(operation.value, str):
        raise InvalidValue(operation.path, operation.value, "must be a text")
    return operation.value


def _texts(operation: Operation) -> dict[str, str]:
    given = operation.value or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise InvalidValue(operation.path, given, "must be an object of texts")
    return given


def _dtos(records: RecordStore, versions: list[ModelVersionRecord]) -> list[ModelDto]:
    experiments = _experiments_of(records, {version.run_id for version in versions if version.run_id})
    return [
        _dto(version, records.models.location_of(version), experiments.get(version.run_id or ""))
        for version in versions
    ]


def _experiments_of(records: RecordStore, run_ids: set[str]) -> dict[str, str]:
    """The names of runs' experiments; none for a run that isn't there, which a model may outlive."""
    ids: dict[str, str] = {}
    for run_id in run_ids:
        try:
            ids[run_id] = records.runs.get(run_id).info.experiment_id
        except NotFound:
            continue
    names = {experiment_id: records.experiments.get(experiment_id).name for experiment_id in set(ids.values())}
    return {run_id: names[experiment_id] for run_id, experiment_id in ids.items()}


def _dto(record: ModelVersionRecord, location: str | None, experiment_name: str | None) -> ModelDto:
    own = (FRAMEWORK_PROPERTY, FRAMEWORK_VERSION_PROPERTY)
    return ModelDto(
        id=f"{record.name}:{record.version}",
        name=record.name,
        version=record.version,
        url=record.storage_location if location is None else _ASSET_URL + _asset_id(location),
        description=record.description,
        framework=record.properties.get(FRAMEWORK_PROPERTY),
        framework_version=record.properties.get(FRAMEWORK_VERSION_PROPERTY),
        run_id=record.run_id,
        experiment_name=experiment_name,
        kv_tags=record.tags,
        properties={name: value for name, value in record.properties.items() if name not in own},
        created_time=iso_time_or_none(record.created_ms),
        modified_time=iso_time_or_none(record.updated_ms),
        created_by=CreatedBy(record.user_id or ""),
    )


def _asset(location: str, name: str, run_id: str | None = None) -> AssetDto:
    prefix = artifact_id(location)
    if not split_location(location)[1]:
        prefix += "/"  # a whole container: the SDK splits a prefix into three parts, of which the last may be empty
    artifacts = [ArtifactOfAsset(prefix=prefix)]
    return AssetDto(name, artifacts, id=_asset_id(location), kv_tags={}, properties={}, runid=run_id, meta={})


def _asset_id(location: str) -> str:
    return base64.urlsafe_b64encode(location.encode()).decode().rstrip("=")


def _location_of_asset(asset_id: str) -> str:
    try:
        padded = asset_id + "=" * (-len(asset_id) % 4)
        location = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise NotFound("asset", asset_id) from error
    location = check_location(location)
    if is_in_snapshot(location):
        raise NotFound("asset", asset_id, "It is no file or folder of a run, a logged model or an upload")
    return location


def _check_files(records: RecordStore, location: str) -> None:
    """Raise NotFound where an asset is no file or folder that is there."""
    container, path = split_location(location)
    if not records.files.list_all(container, path, max_results=1):
        raise NotFound("file", path or container, "Upload what is to be registered first")


def _location(records: RecordStore, place: str) -> str:
    """`CONTAINER/PATH` of `ORIGIN/CONTAINER/PATH`, as Azure ML names it."""
    origin, _, rest = place.partition("/")
    container, _, path = rest.partition("/")
    if origin == UPLOAD_ORIGIN:
        return check_location(f"{upload_container(container)}/{path}")
    if origin != RUN_ORIGIN or not container.startswith(RUN_CONTAINER_PREFIX):
        forms = f"{RUN_ORIGIN}/{RUN_CONTAINER_PREFIX}RUN_ID/PATH or {UPLOAD_ORIGIN}/NAME/PATH"
        raise InvalidValue("artifact", place, f"must be {forms}")
    return check_location(f"{container_of_owner(records, container.removeprefix(RUN_CONTAINER_PREFIX))}/{path}")
