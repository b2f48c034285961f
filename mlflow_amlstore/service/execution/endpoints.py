"""Endpoints in plain JSON of the records' own types: what this package's client calls.

Azure ML's SDK calls `run_history.services`, which has no shape for traffic, events and states of each deployment.
The service runs no model: agents take endpoints (`hosting`), and requests are routed to them (`scoring_routes`).
"""

from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    DeploymentSpec,
    EndpointEvent,
    EndpointRecord,
    EndpointSpec,
)
from mlflow_amlstore.service.acting import acting_for
from mlflow_amlstore.service.execution.told_endpoints import check_auth, told
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.EXECUTION)


class NewEndpoint(msgspec.Struct, frozen=True):
    """An endpoint with its first deployment. `keys` are primary and secondary; without them there are new ones."""

    spec: EndpointSpec
    deployment: DeploymentSpec
    keys: tuple[str, str] | None = None
    overwrite: bool = False


class NewDeployment(msgspec.Struct, frozen=True):
    """The next deployment. It gets all traffic, or the percent by deployment that is given."""

    deployment: DeploymentSpec
    traffic: dict[int, int] | None = None


class Changes(msgspec.Struct, frozen=True):
    """What is to be changed of an endpoint; None leaves it."""

    description: str | None = None
    tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None
    auth: bool | None = None
    traffic: dict[int, int] | None = None


class Endpoints(msgspec.Struct, frozen=True):
    """All endpoints by name."""

    value: list[EndpointRecord]


class EndpointKeys(msgspec.Struct, frozen=True):
    """Both keys, each of which opens the endpoint."""

    primary: str
    secondary: str


class NewKey(msgspec.Struct, frozen=True):
    """Which key is replaced, and by what; without `key` by a new one."""

    which: str
    key: str | None = None


class EventsQuery(msgspec.Struct, frozen=True):
    """What came after the event of this id."""

    after: int = 0


class Events(msgspec.Struct, frozen=True):
    """What happened to an endpoint, the oldest first."""

    value: list[EndpointEvent]


@ROUTES.get("/endpoints", Role.READER, Right.DEPLOY, is_long=True)
def list_endpoints(call: Call) -> Endpoints:
    """List the endpoints."""
    return Endpoints([told(call, record) for record in call.records.endpoints.list()])


@ROUTES.post("/endpoints", Role.SUBMITTER, Right.DEPLOY)
def create(call: Call, body: NewEndpoint) -> EndpointRecord:
    """Make an endpoint with its first deployment, which an agent takes and starts.

    Nobody deploys on their own machine through a service: the target `local` is any pool, as "" is.
    """
    check_auth(call, body.spec.auth)
    spec = replace(body.spec, target="") if body.spec.target == LOCAL_TARGET else body.spec
    return told(call, call.records.endpoints.create(spec, body.deployment, keys=body.keys, overwrite=body.overwrite))


@ROUTES.get("/endpoints/{name}", Role.READER, Right.DEPLOY)
def get(call: Call) -> EndpointRecord:
    """Tell of an endpoint, its deployments and their states."""
    return told(call, call.records.endpoints.get(call.path["name"]))


@ROUTES.post("/endpoints/{name}/deployments", Role.SUBMITTER, Right.DEPLOY)
def deploy(call: Call, body: NewDeployment) -> EndpointRecord:
    """Add a deployment, which gets its traffic as soon as it is Healthy."""
    return told(call, call.records.endpoints.deploy(call.path["name"], body.deployment, traffic=body.traffic))


@ROUTES.patch("/endpoints/{name}", Role.CONTRIBUTOR, Right.DEPLOY)
def update(call: Call, body: Changes) -> EndpointRecord:
    """Change what is given of an endpoint: its traffic, tags and the like."""
    check_auth(call, body.auth)
    return told(call, call.records.endpoints.update(call.path["name"], **msgspec.structs.asdict(body)))


@ROUTES.delete("/endpoints/{name}", Role.CONTRIBUTOR, Right.DEPLOY)
async def delete(call: Call, request: Request) -> Response:
    """Delete an endpoint with its deployments, keys and logs."""
    await on_thread(delete_endpoint, call)
    return Response(b"{}", media_type="application/json")


def delete_endpoint(call: Call) -> None:
    """Delete the endpoint that the path names. Outside of a transaction, as its logs are files."""
    with acting_for(call):
        call.records.endpoints.delete(call.path["name"])


@ROUTES.get("/endpoints/{name}/keys", Role.CONTRIBUTOR, Right.DEPLOY)
def keys(call: Call) -> EndpointKeys:
    """Give both keys of an endpoint."""
    return EndpointKeys(*call.records.endpoints.keys(call.path["name"]))


@ROUTES.put("/endpoints/{name}/keys", Role.CONTRIBUTOR, Right.DEPLOY)
def set_key(call: Call, body: NewKey) -> None:
    """Replace one key; the old one opens no more."""
    call.records.endpoints.set_key(call.path["name"], body.which, body.key)


@ROUTES.get("/endpoints/{name}/events", Role.READER, Right.DEPLOY)
def events(call: Call, body: EventsQuery) -> Events:
    """Tell what happened to an endpoint."""
    return Events(list(call.records.endpoints.events(call.path["name"], after=body.after)))
