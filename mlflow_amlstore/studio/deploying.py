"""What the pages about endpoints change: deploying a model, traffic, keys, a test, deleting.

The Studio of one's own folder starts endpoints on this machine, as its user's terminal would. A service only keeps
what is wanted: its agents run it.
"""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import AlreadyExists, BadRequest, InvalidState, InvalidValue
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.endpoint_rules import check_endpoint_name
from mlflow_amlstore.records.types import AGENTS, LOCAL_TARGET, EndpointRecord, EndpointSpec
from mlflow_amlstore.service.acting import acting_for, as_one_write, who
from mlflow_amlstore.service.body import read_body
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import MAX_JSON_BYTES, Area, Call, Right, Role, Routes
from mlflow_amlstore.studio.endpoint_requests import predict
from mlflow_amlstore.studio.submitting_again import is_own

ROUTES = Routes(Area.STUDIO)
DEPLOYERS, DEPLOYING = Role.CONTRIBUTOR, Right.LOOK
"""Who may deploy, see an endpoint's keys and ask it from here, and by which right."""
_KEY_NEEDED = {"yes": True, "no": False}
T = TypeVar("T")


class Choice(msgspec.Struct, frozen=True):
    """A value to choose, and what is shown of it."""

    value: str
    text: str


class Deploy(msgspec.Struct, frozen=True):
    """What is deployed, and how. `endpoint` is one that gets the version as its next deployment, instead of a new one
    of this `name`; what else is empty or None is as the model's, or without a limit."""

    version: int
    name: str = ""
    endpoint: str = ""
    target: str = LOCAL_TARGET
    environment: str = ""
    cpu: float | None = None
    memory_gb: float | None = None
    workers: int | None = 1
    key_needed: str = "yes"


class Deployed(msgspec.Struct, frozen=True):
    """The endpoint."""

    name: str


class Nothing(msgspec.Struct, frozen=True):
    """A change that needs no more to be said."""


class Which(msgspec.Struct, frozen=True):
    """The `primary` key or the `secondary`."""

    which: str


class Keys(msgspec.Struct, frozen=True):
    """The keys of an endpoint."""

    primary: str
    secondary: str


class Trial(msgspec.Struct, frozen=True):
    """The body of a request for a prediction, as text."""

    body: str


def targets(call: Call) -> list[Choice]:
    """Where an endpoint may run: of one's own folder on this machine, of a service on its pools of agents."""
    of_agents = [each.name for each in call.records.compute_targets.list() if each.kind == AGENTS]
    if not is_own(call):
        return [Choice("", "Any pool of agents"), *(Choice(name, name) for name in of_agents)]
    others = [each.name for each in call.records.compute_targets.list() if each.kind == "AKS"]
    return [Choice(LOCAL_TARGET, "This machine"), *(Choice(name, name) for name in others)]


@ROUTES.post("/models/{name}/deploy", DEPLOYERS, DEPLOYING)
async def deploy(call: Call, request: Request) -> Response:
    """Have a version of a model answer over HTTP, once all that was given was checked."""
    given = await _body(request, Deploy)

    def begin() -> EndpointRecord:
        record = as_one_write(call, lambda: _deploy(call, given))
        if is_own(call):
            start(call.records, record.name)
        return record

    record = await on_thread(begin)
    return _json(Deployed(record.name))


def _deploy(call: Call, given: Deploy) -> EndpointRecord:
    records = call.records
    known = records.endpoints.get(given.endpoint) if given.endpoint else None
    if known is None:
        name = check_endpoint_name(given.name)
        if any(each.name == name for each in records.endpoints.list()):
            raise AlreadyExists("endpoint", name, "Choose another name, or deploy on its page as its next deployment")
        _check_target(call, given.target)
        if given.key_needed not in _KEY_NEEDED:
            raise InvalidValue("key_needed", given.key_needed, "must be 'yes' or 'no'")
        if not is_own(call) and not _KEY_NEEDED[given.key_needed]:
            raise InvalidValue("key_needed", "no", "must be 'yes' where others than this machine can ask the endpoint")
    environment = None
    if given.environment:
        wanted, _, version = given.environment.rpartition(":")
        environment = records.environments.get(wanted, version).definition
    model = records.models.get_version(call.path["name"], given.version)
    deployment = deployment_of(
        records,
        [model],
        environment=environment,
        cpu=given.cpu,
        memory_gb=given.memory_gb,
        workers=1 if given.workers is None else given.workers,
    )
    if known is not None:
        return records.endpoints.deploy(known.name, deployment)
    kind = "LOCAL" if given.target == LOCAL_TARGET else "AKS"
    spec = EndpointSpec(name, kind, given.target, _KEY_NEEDED[given.key_needed])
    return records.endpoints.create(spec, deployment)


def _check_target(call: Call, target: str) -> None:
    known = [each.value for each in targets(call)]
    if target not in known:
        rule = f"must be one of {', '.join(repr(each) for each in known)}"
        if not is_own(call):
            rule += ": the service's pools, '' for any. `amlstore agent --compute` makes one"
        raise InvalidValue("compute", target, rule)


@ROUTES.post("/endpoints/{name}/traffic", DEPLOYERS, DEPLOYING)
async def set_traffic(call: Call, request: Request) -> Response:
    """Set which percent of the requests each deployment answers; the fields are called `deployment-N`."""
    fields = await _body(request, dict[str, int | None])
    percents = {}
    for field, percent in fields.items():
        number = field.rpartition("-")[2]
        if not number.isdecimal():
            raise InvalidValue("traffic", field, "must be called deployment-N")
        if percent:
            percents[int(number)] = percent

    def change() -> None:
        name = call.path["name"]
        as_one_write(call, lambda: call.records.endpoints.update(name, traffic=percents))
        if is_own(call):
            start(call.records, name)

    await on_thread(change)
    return _json(None)


@ROUTES.post("/endpoints/{name}/delete", DEPLOYERS, DEPLOYING)
async def delete(call: Call, request: Request) -> Response:
    """Delete an endpoint: its processes end, and its keys and logs are gone."""
    await _body(request, Nothing)

    def change() -> None:  # in no transaction, as files are deleted
        with acting_for(call):
            call.records.endpoints.delete(call.path["name"])

    await on_thread(change)
    return _json(None)


@ROUTES.post("/endpoints/{name}/keys", DEPLOYERS, DEPLOYING)
def keys(call: Call, body: Nothing) -> Keys:
    """Give an endpoint's keys."""
    call.records.acts.add("endpoint", call.path["name"], "looked at the keys", who(call), "")
    return Keys(*call.records.endpoints.keys(call.path["name"]))


@ROUTES.post("/endpoints/{name}/keys/new", DEPLOYERS, DEPLOYING)
def new_key(call: Call, body: Which) -> Keys:
    """Replace one of an endpoint's keys by a new one; the old one opens no more."""
    call.records.endpoints.set_key(call.path["name"], body.which)
    return Keys(*call.records.endpoints.keys(call.path["name"]))


@ROUTES.post("/endpoints/{name}/test", DEPLOYERS, DEPLOYING)
async def test(call: Call, request: Request) -> Response:
    """Ask an endpoint for a prediction, with its primary key, which the browser isn't given."""
    given = await _body(request, Trial)
    record = await on_thread(call.records.endpoints.get, call.path["name"])
    if not record.serving:
        raise InvalidState(f"Endpoint {record.name} is {record.state.value}: it answers once a deployment is Healthy")
    # On a thread of its own, as an answer may take its time.
    return _json(await asyncio.to_thread(predict, call.records, record, given.body.encode()))


async def _body(request: Request, kind: type[T]) -> T:
    """What a form sent. Raises BadRequest, PayloadTooLarge."""
    text = await read_body(request.receive, request.headers.get("content-length"), MAX_JSON_BYTES)
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise BadRequest(str(error)) from error


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"})
