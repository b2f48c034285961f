"""What hosts of endpoints ask and tell: an agent takes an endpoint, and its host holds it by the endpoint's own token.

The token reads the endpoint, the files of its models and its source, and writes its log; it opens nothing else. It ends
with the lease, which each `hold` renews. Of keys a host is given the hashes alone.
"""

import hashlib
import re
import secrets

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.locations import endpoint_container, snapshot_container, split_location
from mlflow_amlstore.records.sql.run_leases import LEASE_S, RENEWED_EVERY_S
from mlflow_amlstore.records.types import DeploymentError, EndpointRecord, EndpointState, FileRecord, ModelVersionRecord
from mlflow_amlstore.service.files.content import etag_of
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.signed_urls import Direction

ROUTES = Routes(Area.EXECUTION)

_URL_S = 300.0  # which a log's writer asks for again; a large model's download does, too
_ADDRESS = re.compile(r"http://([\w.\-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}", re.ASCII)


class TakingEndpoint(msgspec.Struct, frozen=True):
    """Who takes an endpoint: the agent's name for itself."""

    agent: str


class TakenEndpoint(msgspec.Struct, frozen=True):
    """An endpoint to run, and its own token. Without a name none waits."""

    name: str = ""
    token: str = ""


class Holding(msgspec.Struct, frozen=True):
    """Where the endpoint answers: `http://HOST:PORT`."""

    address: str


class HostLease(msgspec.Struct, frozen=True):
    """For how long the endpoint is its host's, from now on, how often that is renewed, and the token from now on."""

    lasts_s: float
    renewed_every_s: float
    token: str


class HostedRecord(msgspec.Struct, frozen=True):
    """An endpoint as it is kept, and the SHA-256 of its keys, in hex."""

    record: EndpointRecord
    key_hashes: list[str]


class DeploymentReport(msgspec.Struct, frozen=True):
    """How a deployment is, and with which versions of packages."""

    state: EndpointState
    error: DeploymentError | None = None
    versions: dict[str, str] | None = None


class Serving(msgspec.Struct, frozen=True):
    """Percent of the requests by deployment."""

    traffic: dict[int, int]


class Happening(msgspec.Struct, frozen=True):
    """What happened, as a sentence, and the deployment that it is about (0 for none)."""

    number: int
    text: str


class FileToRead(msgspec.Struct, frozen=True):
    """A file and where its content is."""

    path: str
    url: str
    size_bytes: int
    etag: str


class FilesOfModel(msgspec.Struct, frozen=True):
    """A model's version and its files; `path` is the file or folder that it is, below which they are."""

    version: ModelVersionRecord
    path: str
    files: list[FileToRead]


class FilesOfSource(msgspec.Struct, frozen=True):
    """The files of a snapshot."""

    files: list[FileToRead]


class LogUrl(msgspec.Struct, frozen=True):
    """Where a log is written."""

    url: str


@ROUTES.post("/computes/{name}/take-endpoint", Role.AGENT, Right.WORK)
def take(call: Call, body: TakingEndpoint) -> TakenEndpoint:
    """Hand out an endpoint of this pool, or of any, that nobody runs."""
    assert call.caller is not None  # as the route needs a role
    holder = f"{body.agent}-{secrets.token_hex(8)}"  # another one each time, so that a lost lease's token stays ended
    name = call.records.endpoints.take(call.path["name"], holder)
    if name is None:
        return TakenEndpoint()
    return TakenEndpoint(name, call.tokens.endpoint_token(call.caller.key_id, name, holder).text)


@ROUTES.get("/endpoints/{name}/host", Role.CONTRIBUTOR, Right.HOST)
def get(call: Call) -> HostedRecord:
    """Tell the endpoint's host what is wanted."""
    name = _own(call)
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in call.records.endpoints.keys(name)]
    return HostedRecord(call.records.endpoints.get(name), hashes)


@ROUTES.put("/endpoints/{name}/host", Role.CONTRIBUTOR, Right.HOST)
def hold(call: Call, body: Holding) -> HostLease:
    """Prolong the lease of the endpoint whose token this is."""
    name = _own(call)
    if not _ADDRESS.fullmatch(body.address):
        raise InvalidValue("address", body.address, "must be http://HOST:PORT, where the endpoint answers")
    assert call.caller is not None
    if not call.records.endpoints.hold(name, call.caller.holder, body.address, has_lease=True):
        raise NotFound("lease", name, "It ran out, and another host may have taken the endpoint")
    token = call.tokens.endpoint_token(call.caller.key_id, name, call.caller.holder)
    return HostLease(LEASE_S, RENEWED_EVERY_S, token.text)


@ROUTES.delete("/endpoints/{name}/host", Role.CONTRIBUTOR, Right.HOST)
def leave(call: Call) -> None:
    """Run the endpoint no longer; its token ends."""
    name = _own(call)
    assert call.caller is not None
    call.records.endpoints.leave(name, call.caller.holder)


@ROUTES.put("/endpoints/{name}/deployments/{number}/state", Role.CONTRIBUTOR, Right.HOST)
def set_state(call: Call, body: DeploymentReport) -> None:
    """Tell how a deployment is."""
    name = _own(call)
    call.records.endpoints.set_state(name, _number(call), body.state, error=body.error, versions=body.versions)


@ROUTES.put("/endpoints/{name}/serving", Role.CONTRIBUTOR, Right.HOST)
def set_serving(call: Call, body: Serving) -> None:
    """Tell which deployments serve."""
    name = _own(call)
    count = len(call.records.endpoints.get(name).deployments)
    for number in body.traffic:
        if not 1 <= number <= count:
            raise InvalidValue("traffic", number, f"must be for deployments of the endpoint, which are 1 to {count}")
    call.records.endpoints.set_serving(name, body.traffic)


@ROUTES.post("/endpoints/{name}/events", Role.CONTRIBUTOR, Right.HOST)
def say(call: Call, body: Happening) -> None:
    """Tell what happened."""
    call.records.endpoints.say(_own(call), body.number, body.text)


@ROUTES.get("/endpoints/{name}/models/{model}", Role.CONTRIBUTOR, Right.HOST, is_long=True)
def model_files(call: Call) -> FilesOfModel:
    """Give URLs to read the files of a model that the endpoint deploys."""
    record, model = call.records.endpoints.get(_own(call)), call.path["model"]
    if not any(model in deployment.spec.models for deployment in record.deployments):
        raise NotFound("model", model, "No deployment of this endpoint has it")
    name, _, version = model.rpartition(":")
    found = call.records.models.get_version(name, int(version))
    location = call.records.models.location_of(found)
    if location is None:
        rule = f"is at {found.storage_location}, and can be deployed from a workspace's own files alone"
        raise InvalidValue("model", model, rule)
    container, path = split_location(location)
    return FilesOfModel(found, path, _to_read(call, container, path))


@ROUTES.get("/endpoints/{name}/snapshots/{snapshot}", Role.CONTRIBUTOR, Right.HOST, is_long=True)
def source_files(call: Call) -> FilesOfSource:
    """Give URLs to read the files of a source folder that the endpoint deploys."""
    record, snapshot_id = call.records.endpoints.get(_own(call)), call.path["snapshot"]
    if not any(snapshot_id == deployment.spec.snapshot_id for deployment in record.deployments):
        raise NotFound("snapshot", snapshot_id, "No deployment of this endpoint has it")
    return FilesOfSource(_to_read(call, snapshot_container(snapshot_id), ""))


@ROUTES.post("/endpoints/{name}/deployments/{number}/log", Role.CONTRIBUTOR, Right.HOST)
def log_url(call: Call) -> LogUrl:
    """Give a URL to write the log of a deployment to."""
    location = f"{endpoint_container(_own(call))}/{log_path(_number(call))}"
    return LogUrl(call.content_url(location, Direction.WRITE, lifetime_s=_URL_S))


def log_path(number: int) -> str:
    """The file of a deployment's log, among the endpoint's files."""
    return f"logs/{number}.txt"


def _to_read(call: Call, container: str, path: str) -> list[FileToRead]:
    files = call.records.files.list_all(container, path)
    if not files:
        raise NotFound("file", path or "*", "The files were deleted")
    return [_file(call, container, file) for file in files]


def _file(call: Call, container: str, file: FileRecord) -> FileToRead:
    url = call.content_url(f"{container}/{file.path}", Direction.READ, lifetime_s=_URL_S)
    return FileToRead(file.path, url, file.size_bytes, etag_of(file))


def _number(call: Call) -> int:
    """The number of a deployment in the path. Raises NotFound."""
    text = call.path["number"]
    count = len(call.records.endpoints.get(call.path["name"]).deployments)
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= count:
        raise NotFound("deployment", text, f"The endpoint has 1 to {count}")
    return int(text)


def _own(call: Call) -> str:
    assert call.caller is not None  # as the route needs a role
    name = call.path["name"]
    if call.caller.endpoint != name:
        raise NotFound("endpoint", name, f"This token is endpoint {call.caller.endpoint}'s, and opens no other")
    return name
