"""Web services, as Azure ML's SDK deploys and asks for them: an endpoint is one.

The service runs none: agents do (`service.execution.hosts`). An answer to what takes time names an operation, which the
SDK asks for until it has ended.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, NotFound, NotSupported
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.protocol.artifact_origins import UPLOAD_ORIGIN
from mlflow_amlstore.records.endpoint_rules import check_endpoint_name
from mlflow_amlstore.records.locations import check_new_path, endpoint_container, upload_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import DeploymentSpec, EndpointRecord, EndpointSpec, ModelVersionRecord
from mlflow_amlstore.service.acting import as_one_write
from mlflow_amlstore.service.body import decode_json, read_body
from mlflow_amlstore.service.execution.endpoints import delete_endpoint
from mlflow_amlstore.service.execution.hosts import log_path
from mlflow_amlstore.service.execution.told_endpoints import check_auth
from mlflow_amlstore.service.files.azure_artifacts import address_of
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import MAX_JSON_BYTES, Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.service.run_history.model_management import Operation
from mlflow_amlstore.service.run_history.page_size import page_size
from mlflow_amlstore.service.run_history.service_documents import (
    Asset,
    ImageRequest,
    NewService,
    OperationDocument,
    ServiceDocument,
    ServicePage,
    operation_document,
    operation_id,
    service_document,
)

ROUTES = Routes(Area.MODEL_MANAGEMENT)

_SERVICE = "modelmanagement/v1.0"
_KINDS = ("ACI", "AKS", "LOCAL")
_PAGE = 255
_ARTIFACT_URL = "aml://artifact/"
_ENTRY_SCRIPT = "AZUREML_ENTRY_SCRIPT"  # a variable of the environment, by which the SDK tells it
_MOST_SOURCE_BYTES, _MOST_SOURCE_FILES = 300 * 1024**2, 2000  # as a snapshot's
_MOST_LOG_BYTES = 4 * 1024**2
_KEY_TYPES = {"Primary": "primary", "Secondary": "secondary"}
_SETTINGS = (
    "location", "cname", "dns_name_label", "app_insights_enabled", "max_queue_wait_ms", "auto_scaler", "namespace",
)  # fmt: skip


class Validation(msgspec.Struct, frozen=True, rename="camel"):
    """What is going to be asked for."""

    type: str | None = None
    service_name: str | None = None
    name: str | None = None


class ValidationAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why it would be refused; nothing where it wouldn't."""

    error: dict[str, str] | None = None


class ServiceQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which services; `tags` and `properties` are as `name,name=value`."""

    expand: bool = True
    compute_type: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    image_id: str | None = None
    image_name: str | None = None
    image_digest: str | None = None
    tags: str | None = None
    properties: str | None = None
    count: int = _PAGE
    skip_token: str | None = msgspec.field(name="$skipToken", default=None)


class ServiceKeys(msgspec.Struct, frozen=True, rename="camel"):
    """Both keys of a service."""

    primary_key: str
    secondary_key: str


class KeyToRegenerate(msgspec.Struct, frozen=True, rename="camel"):
    """Which key is replaced; `key_value` is the new one, or None for one that is made."""

    key_type: str
    key_value: str | None = None


class OperationQuery(msgspec.Struct, frozen=True):
    """How many characters of the log the client has."""

    offset: int = 0


class LogQuery(msgspec.Struct, frozen=True):
    """How many lines from the end; with `init` what happened before the deployment could write a log."""

    tail: int = 5000
    init: str = "False"


class LogContent(msgspec.Struct, frozen=True):
    """Lines of a log."""

    content: str


class PackageRequest(msgspec.Struct, frozen=True, rename="camel"):
    """An image to be made."""

    package_type: str | None = None
    image_name: str | None = None
    image_label: str | None = None


@ROUTES.post("/services/validate/name/{name}", Role.READER, Right.DEPLOY)
def validate_name(call: Call) -> ValidationAnswer:
    """Say what is wrong with a name, if anything."""
    return _validated(call.path["name"])


@ROUTES.post("/services/validate", Role.READER, Right.DEPLOY)
@ROUTES.post("/services/validate/resource", Role.READER, Right.DEPLOY)
def validate(call: Call, body: Validation) -> ValidationAnswer:
    """Say what is wrong with a request, as far as its name tells. The request itself is refused for the rest."""
    name = body.service_name or body.name
    return ValidationAnswer() if name is None else _validated(name)


@ROUTES.post("/services", Role.SUBMITTER, Right.DEPLOY)
async def create_service(call: Call, request: Request) -> Response:
    """Make a service, or with `overwrite` the next deployment of one. Agents start it."""
    body: NewService = await _decoded(request, NewService)
    return await on_thread(_create, call, body)


def _create(call: Call, body: NewService) -> Response:
    if body.compute_type not in _KINDS:
        raise InvalidValue("computeType", body.compute_type, f"must be one of {', '.join(_KINDS)}")
    if body.aad_auth_enabled:
        raise NotSupported("token_auth_enabled", "Requests need one of two keys; leave it out")
    check_auth(call, body.auth_enabled)
    if body.environment_image_request is None:
        raise InvalidValue("environmentImageRequest", None, "must name the models, or an entry script")
    check_endpoint_name(body.name)
    settings = {_in_camel_case(field): value for field in _SETTINGS if (value := getattr(body, field)) is not None}
    spec = EndpointSpec(
        body.name,
        body.compute_type,
        body.compute_name or "",
        body.auth_enabled is not False,
        description=body.description or "",
        tags=body.kv_tags or {},
        properties=body.properties or {},
        settings=settings,
    )
    deployment = _deployment(call.records, body.environment_image_request, **_limits(body))
    keys, overwrite = _given_keys(body), bool(body.overwrite)
    record = as_one_write(call, lambda: call.records.endpoints.create(spec, deployment, keys=keys, overwrite=overwrite))
    return _accepted(call, operation_id(record, record.newest), service_document(call, record), status=201)


@ROUTES.get("/services", Role.READER, Right.DEPLOY, is_long=True)
def list_services(call: Call, body: ServiceQuery) -> ServicePage:
    """List services by name."""
    after = body.skip_token or ""
    found = [each for each in call.records.endpoints.list() if each.name > after and _is_wanted(each, body)]
    size = min(page_size("count", body.count, _PAGE), _PAGE)
    documents = [service_document(call, record) for record in found[:size]]
    if len(found) <= size:
        return ServicePage(documents)
    given = {
        field.encode_name: getattr(body, field.name)
        for field in msgspec.structs.fields(ServiceQuery)
        if getattr(body, field.name) is not None
    }
    query = urlencode({**given, "expand": "true", "$skipToken": found[size - 1].name})
    return ServicePage(documents, f"{address_of(call, _SERVICE, '/services')}?{query}")


@ROUTES.get("/services/{name}", Role.READER, Right.DEPLOY)
def get(call: Call) -> ServiceDocument:
    """Tell of a service: where it answers, how it is, and why."""
    return service_document(call, call.records.endpoints.get(call.path["name"]))


@ROUTES.patch("/services/{name}", Role.SUBMITTER, Right.DEPLOY)
async def update_service(call: Call, request: Request) -> Response:
    """Change a service: its tags and the like at once; models, code and limits by the next deployment."""
    body: list[Operation] = await _decoded(request, list[Operation])
    return await on_thread(_update, call, body)


def _update(call: Call, body: list[Operation]) -> Response:
    name = call.path["name"]
    record = call.records.endpoints.get(name)
    changes: dict[str, Any] = {}
    image: ImageRequest | None = None
    limits: dict[str, Any] = {}
    for operation in body:
        _, *pointer = (part.replace("~1", "/").replace("~0", "~") for part in operation.path.split("/"))
        value = None if operation.op == "remove" else operation.value
        match pointer:
            case ["environmentImageRequest"]:
                image = _converted(operation.path, value, ImageRequest)
            case ["kvTags"]:
                changes["tags"] = _converted(operation.path, value or {}, dict[str, str])
            case ["properties", key]:
                known = changes.get("properties", record.spec.properties)
                changes["properties"] = {**known, key: _converted(operation.path, value, str)}
            case ["description"]:
                changes["description"] = _converted(operation.path, value or "", str)
            case ["authEnabled"]:
                changes["auth"] = _converted(operation.path, value, bool)
                check_auth(call, changes["auth"])
            case [word] if word in _CHANGED_LIMITS:
                limits |= _changed_limit(operation, word, value)
            case ["containerResourceRequirements", word] if word in _CHANGED_RESOURCES:
                limits[_CHANGED_RESOURCES[word]] = _converted(operation.path, value, float | None)
            case [word, *_] if word in _MEANS_NOTHING:
                pass
            case _:
                raise InvalidValue("path", operation.path, f"what can be changed of a service is {_CHANGEABLE}")
    if image is None and not limits:
        record = as_one_write(call, lambda: call.records.endpoints.update(name, **changes))
        return _accepted(call, f"update.{name}", service_document(call, record))
    newest = record.newest.spec
    if image is None:
        deployment = replace(newest, **limits)
    else:
        kept = ("cpu", "memory_gb", "workers", "concurrency", "queue_length", "load_limit_s", "predict_limit_s")
        deployment = _deployment(call.records, image, **{field: getattr(newest, field) for field in kept} | limits)

    def change() -> EndpointRecord:
        if changes:
            call.records.endpoints.update(name, **changes)
        return call.records.endpoints.deploy(name, deployment)

    record = as_one_write(call, change)
    return _accepted(call, operation_id(record, record.newest), service_document(call, record))


@ROUTES.delete("/services/{name}", Role.CONTRIBUTOR, Right.DEPLOY)
async def delete_service(call: Call, request: Request) -> Response:
    """Delete a service: 200, or 204 where there is none of the name."""
    try:
        await on_thread(delete_endpoint, call)
    except NotFound:
        return Response(None, 204)
    return Response(b"{}", media_type="application/json")


@ROUTES.get("/operations/{operation}", Role.READER, Right.DEPLOY)
def get_operation(call: Call, body: OperationQuery) -> OperationDocument:
    """Tell how far an operation is."""
    return operation_document(call, call.path["operation"], body.offset)


@ROUTES.post("/services/{name}/listkeys", Role.CONTRIBUTOR, Right.DEPLOY)
def list_keys(call: Call) -> ServiceKeys:
    """Give both keys of a service."""
    return ServiceKeys(*call.records.endpoints.keys(call.path["name"]))


@ROUTES.post("/services/{name}/regenerateKeys", Role.CONTRIBUTOR, Right.DEPLOY)
def regenerate_key(call: Call, body: KeyToRegenerate) -> Content:
    """Replace one key; the old one opens no more."""
    which = _KEY_TYPES.get(body.key_type)
    if which is None:
        raise InvalidValue("keyType", body.key_type, f"must be {' or '.join(_KEY_TYPES)}")
    name = call.path["name"]
    call.records.endpoints.set_key(name, which, body.key_value or None)
    return Content(b"{}", "application/json", (("Operation-Location", _operation_url(call, f"key.{name}")),), 202)


@ROUTES.post("/services/{name}/token", Role.CONTRIBUTOR, Right.DEPLOY)
def token(call: Call) -> None:
    """Answers NOT_IMPLEMENTED: a service is opened by its keys."""
    raise NotSupported("A token of a web service", "It is opened by its keys: get_keys() returns them")


@ROUTES.get("/services/{name}/logs", Role.READER, Right.DEPLOY)
def logs(call: Call, body: LogQuery) -> LogContent:
    """Give the end of the newest deployment's log."""
    record = call.records.endpoints.get(call.path["name"])
    if body.init.lower() == "true":
        lines = [event.text for event in call.records.endpoints.events(record.name)]
    else:
        lines = _log_lines(call.records, record)
    return LogContent("\n".join(lines[-body.tail :] if body.tail > 0 else []))


@ROUTES.post("/packages", Role.SUBMITTER, Right.DEPLOY)
def package(call: Call, body: PackageRequest) -> None:
    """Answers NOT_IMPLEMENTED: the service builds no images."""
    instead = "Model.package of mlflow_amlstore writes a Dockerfile and what it needs into a folder"
    raise NotSupported("Building an image of models", instead)


def _validated(name: str) -> ValidationAnswer:
    try:
        check_endpoint_name(name)
    except AmlStoreError as error:
        return ValidationAnswer({"code": error.mlflow_code, "message": str(error)})
    return ValidationAnswer()


async def _decoded(request: Request, kind: Any) -> Any:
    """The request's JSON. A handler that changes files reads it itself: those can't be changed in a transaction."""
    headers = request.headers
    body = await read_body(request.receive, headers.get("content-length"), MAX_JSON_BYTES)
    return decode_json(kind, body, "application/json", allow_nan=False)


def _operation_url(call: Call, operation: str) -> str:
    return address_of(call, _SERVICE, f"/operations/{operation}")


def _accepted(call: Call, operation: str, document: ServiceDocument, *, status: int = 202) -> Response:
    headers = {"Operation-Location": _operation_url(call, operation)}
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def _in_camel_case(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


# What a service is asked for


def _given_keys(body: NewService) -> tuple[str, str] | None:
    keys = body.keys
    if keys is None or (keys.primary_key is None and keys.secondary_key is None):
        return None
    if keys.primary_key is None or keys.secondary_key is None:
        raise InvalidValue("keys", "one key", "must be both keys, primary and secondary, or neither")
    return keys.primary_key, keys.secondary_key


def _limits(body: NewService) -> dict[str, Any]:
    """Fields of `DeploymentSpec`, as far as they were given."""
    resources = body.container_resource_requirements
    given = {
        "cpu": None if resources is None else resources.cpu,
        "memory_gb": None if resources is None else resources.memory_in_gb,
        "workers": body.num_replicas,
        "concurrency": body.max_concurrent_requests_per_container,
        "predict_limit_s": None if body.scoring_timeout_ms is None else body.scoring_timeout_ms / 1000,
    }
    return {field: value for field, value in given.items() if value is not None}


_CHANGED_LIMITS = {
    "numReplicas": "workers",
    "maxConcurrentRequestsPerContainer": "concurrency",
    "scoringTimeoutMs": "predict_limit_s",
    "containerResourceRequirements": "",
}
_CHANGED_RESOURCES = {"cpu": "cpu", "memoryInGB": "memory_gb"}
_MEANS_NOTHING = (
    "sslEnabled", "sslCertificate", "sslKey", "cname", "appInsightsEnabled", "autoScaler", "dataCollection",
    "maxQueueWaitMs", "livenessProbeRequirements", "namespace", "aadAuthEnabled",
)  # fmt: skip
_CHANGEABLE = (
    "/environmentImageRequest, /kvTags, /properties/NAME, /description, /authEnabled, "
    "/containerResourceRequirements, /numReplicas, /maxConcurrentRequestsPerContainer and /scoringTimeoutMs"
)


def _changed_limit(operation: Operation, word: str, value: Any) -> dict[str, Any]:
    if word == "containerResourceRequirements":
        given = _converted(operation.path, value or {}, dict[str, Any])
        return {
            field: _converted(f"{operation.path}/{name}", given[name], float | None)
            for name, field in _CHANGED_RESOURCES.items()
            if name in given
        }
    number = _converted(operation.path, value, float)
    return {_CHANGED_LIMITS[word]: number / 1000 if word == "scoringTimeoutMs" else int(number)}


def _converted(path: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidValue(path, value, str(error)) from None


def _deployment(records: RecordStore, image: ImageRequest, **limits: Any) -> DeploymentSpec:
    models = [_version(records, model) for model in image.model_ids]
    environment = image.environment
    if image.driver_program is None:
        return deployment_of(records, models, environment=environment, **limits)
    variables = (environment or {}).get("environmentVariables") or {}
    script, snapshot_id = _source(records, image, variables.get(_ENTRY_SCRIPT))
    return deployment_of(
        records, models, entry_script=script, snapshot_id=snapshot_id, environment=environment, **limits
    )


def _version(records: RecordStore, model: str) -> ModelVersionRecord:
    name, _, version = model.rpartition(":")
    if not name or not version.isascii() or not version.isdecimal() or len(version) > 9:
        raise InvalidValue("modelIds", model, "must be NAME:VERSION")
    return records.models.get_version(name, int(version))


def _source(records: RecordStore, image: ImageRequest, named: str | None) -> tuple[str, str]:
    """Keep the uploaded script or folder as a snapshot; return the script's path in it, and the snapshot's id."""
    assets = [asset for asset in image.assets or [] if asset.id != image.driver_program]
    with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
        items = [item for asset in assets for item in _unpacked(records, asset, Path(folder))]
        paths = [path for path, _ in items]
        script = _entry_script(named, paths)
        return script, records.snapshots.store(items)


def _entry_script(named: str | None, paths: list[str]) -> str:
    if named is not None and named.lstrip("./") in paths:
        return named.lstrip("./")
    scripts = [path for path in paths if path.endswith(".py")]
    if named is None and len(scripts) == 1:
        return scripts[0]
    rule = f"must be among what was uploaded ({', '.join(paths[:5]) or 'nothing'}), named in {_ENTRY_SCRIPT}"
    raise InvalidValue("entry script", named, rule)


def _unpacked(records: RecordStore, asset: Asset, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of an asset, by their paths, in a folder of this machine."""
    container, path = _location(asset)
    name = path.rpartition("/")[2]
    local = folder / "asset"
    records.files.download(container, path, local)
    if not asset.unpack:
        kept = folder / f"file {name}"
        local.rename(kept)
        yield name, kept
        return
    left = _MOST_SOURCE_BYTES
    with tarfile.open(local, "r:*") as archive:
        for number, member in enumerate(member for member in archive if member.isfile()):
            left -= member.size
            if left < 0 or number >= _MOST_SOURCE_FILES:
                rule = f"must have at most {_MOST_SOURCE_FILES} files and {_MOST_SOURCE_BYTES} bytes"
                raise InvalidValue("source folder", asset.id, rule)
            source, kept = archive.extractfile(member), folder / f"member {number}"
            assert source is not None  # as it is a file
            with source, kept.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            yield check_new_path(member.name), kept
    local.unlink()


def _location(asset: Asset) -> tuple[str, str]:
    origin, _, rest = asset.url.removeprefix(_ARTIFACT_URL).partition("/")
    container, _, path = rest.partition("/")
    if not asset.url.startswith(_ARTIFACT_URL) or origin != UPLOAD_ORIGIN or not path:
        raise InvalidValue("asset", asset.url, f"must be {_ARTIFACT_URL}{UPLOAD_ORIGIN}/NAME/PATH, as it was uploaded")
    return upload_container(container), check_new_path(path)


# What is told


def _is_wanted(record: EndpointRecord, query: ServiceQuery) -> bool:
    models = record.newest.spec.models
    if query.image_id or query.image_name or query.image_digest:  # no service here has an image
        return False
    if query.compute_type is not None and query.compute_type.upper() != record.spec.kind:
        return False
    if query.model_id is not None and query.model_id not in models:
        return False
    if query.model_name is not None and query.model_name not in [model.rpartition(":")[0] for model in models]:
        return False
    return _has(record.spec.tags, query.tags) and _has(record.spec.properties, query.properties)


def _has(given: dict[str, str], terms: str | None) -> bool:
    for term in filter(None, (terms or "").split(",")):
        name, equals, value = term.partition("=")
        if name not in given or (equals and given[name] != value):
            return False
    return True


def _log_lines(records: RecordStore, record: EndpointRecord) -> list[str]:
    container, path = endpoint_container(record.name), log_path(record.newest.number)
    found = records.files.find(container, path)
    if found is None:  # it hasn't begun
        return []
    begin = max(0, found.size_bytes - _MOST_LOG_BYTES)
    text = records.files.read_part(container, path, begin, _MOST_LOG_BYTES).decode(errors="replace")
    lines = text.splitlines()
    return lines[1:] if begin else lines  # the first may have lost its beginning
