"""`/endpoints` and `/endpoints/NAME`: models that answer over HTTP."""

import threading

import msgspec

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.hosting.looking import looked_at
from mlflow_amlstore.records.locations import endpoint_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import LOCAL_TARGET, DeploymentRecord, EndpointRecord, EndpointState
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.by_hand import Act, acts_on
from mlflow_amlstore.studio.endpoint_metrics import Speed, speed_of
from mlflow_amlstore.studio.endpoint_requests import Described, described
from mlflow_amlstore.studio.page import NoQuery, Pages
from mlflow_amlstore.studio.pages.outputs import LogQuery, SearchQuery
from mlflow_amlstore.studio.run_tail import LogPart, Matches, part_of, search
from mlflow_amlstore.studio.snippets import Snippet, snippets
from mlflow_amlstore.studio.submitting_again import is_own
from mlflow_amlstore.studio.trial_form import TrialForm, form_of

PAGES = Pages()
ROUTES = Routes(Area.STUDIO)
_MOST_EVENTS = 100
_ROUTED = "/endpoints/{name}/score"
_MOST_DESCRIBED = 200
_ANSWERING = (EndpointState.HEALTHY, EndpointState.UNHEALTHY, EndpointState.TRANSITIONING)


class Model(msgspec.Struct, frozen=True):
    """A version of a registered model."""

    name: str
    version: int


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint. `reason` is why its state is what it is, or what it is at; `traffic` percent by deployment."""

    name: str
    state: str
    look: str
    reason: str
    models: list[Model]
    traffic: dict[int, int]
    scoring_uri: str
    auth: bool
    where: str
    updated_ms: int


class EndpointsPage(msgspec.Struct, frozen=True):
    """All endpoints, by name."""

    rows: list[EndpointRow]


class EndpointQuery(msgspec.Struct, frozen=True):
    """Of which deployment the log is shown, the newest's without; `level` is as for a run's log."""

    log: int = 0
    level: str = ""


class Deployment(msgspec.Struct, frozen=True):
    """A deployment. `percent` is what it answers of the requests, `wanted` what it is to answer."""

    number: int
    state: str
    look: str
    reason: str
    models: list[Model]
    framework: str
    percent: int
    wanted: int
    workers: int
    cpu: float | None
    memory_gb: float | None
    environment: str
    versions: dict[str, str]
    created_ms: int


class Event(msgspec.Struct, frozen=True):
    """What happened, in a sentence."""

    at_ms: int
    text: str


class EndpointPage(msgspec.Struct, frozen=True):
    """An endpoint. What it says of itself, `speed` and `trial`, is None while it doesn't answer."""

    query: EndpointQuery
    endpoint: EndpointRow
    swagger_uri: str
    description: str
    tags: dict[str, str]
    error_code: str
    error_details: str
    deployments: list[Deployment]
    speed: Speed | None
    trial: TrialForm | None
    snippets: list[Snippet]
    log_number: int
    log: LogPart | None
    goes_on: bool
    events: list[Event]
    acts: list[Act]
    created_ms: int


@PAGES.page("/endpoints", "endpoints.html")
def endpoints(call: Call, query: NoQuery) -> EndpointsPage:
    """Show the endpoints."""
    return EndpointsPage([_row(call, as_it_is(call, each)) for each in call.records.endpoints.list()])


@PAGES.page("/endpoints/{name}", "endpoint.html", is_long=True)
def endpoint(call: Call, query: EndpointQuery) -> EndpointPage:
    """Show an endpoint."""
    records = call.records
    record = as_it_is(call, records.endpoints.get(call.path["name"]))
    row = _row(call, record)
    answers = bool(row.scoring_uri and record.serving) and record.state in _ANSWERING
    about = _described(records, record) if answers else None
    error = record.error
    number = query.log or record.newest.number
    return EndpointPage(
        query=query,
        endpoint=row,
        swagger_uri=f"{row.scoring_uri.removesuffix('/score')}/swagger.json" if row.scoring_uri else "",
        description=record.spec.description,
        tags=record.spec.tags,
        error_code=error.code if error else "",
        error_details=error.details if error else "",
        deployments=[_deployment(record, each) for each in reversed(record.deployments)],
        speed=speed_of(records, record) if answers else None,
        trial=form_of(about) if about else None,
        snippets=snippets(record.name, row.scoring_uri, about and about.example, auth=record.spec.auth)
        if row.scoring_uri and record.serving
        else [],
        log_number=number,
        log=_log(records, record.name, number, query.level),
        goes_on=_goes_on(record, number),
        events=[Event(each.at_ms, each.text) for each in records.endpoints.events(record.name)][:-_MOST_EVENTS:-1],
        acts=acts_on(records, "endpoint", record.name),
        created_ms=record.created_ms,
    )


@ROUTES.get("/endpoints/{name}/log.json", Role.READER, Right.LOOK, is_long=True)
def log(call: Call, body: LogQuery) -> LogPart:
    """Give lines of a deployment's log."""
    container = endpoint_container(call.path["name"])
    return part_of(call.records, container, body.path, before=body.before, after=body.after, level=body.level)


@ROUTES.get("/endpoints/{name}/log/matches.json", Role.READER, Right.LOOK, is_long=True)
def search_log(call: Call, body: SearchQuery) -> Matches:
    """Give the lines of a deployment's log that have a text, of a long log in several answers."""
    container = endpoint_container(call.path["name"])
    return search(call.records, container, body.path, body.text, begin=body.begin, line=body.line, level=body.level)


def as_it_is(call: Call, record: EndpointRecord) -> EndpointRecord:
    """An endpoint as it is now. The Studio of one's own folder starts one again whose processes are gone; a service's
    endpoints are looked after by their agents."""
    return looked_at(call.records, record) if is_own(call) else record


def _row(call: Call, record: EndpointRecord) -> EndpointRow:
    address = _address(call, record)
    shown = record.serving or {record.newest.number: 0}
    return EndpointRow(
        name=record.name,
        state=record.state.value,
        look=words.look_of_endpoint(record.state),
        reason=_reason(call.records, record),
        models=list(dict.fromkeys(model for number in sorted(shown) for model in _models(record.deployment(number)))),
        traffic=record.serving,
        scoring_uri=f"{address}/score" if address else "",
        auth=record.spec.auth,
        where="this machine" if record.spec.target == LOCAL_TARGET else record.spec.target or "any pool",
        updated_ms=record.updated_ms,
    )


def _address(call: Call, record: EndpointRecord) -> str:
    """Where an endpoint is asked: where it answers, or at a service that routes to it."""
    if record.host is None or not record.host.address:
        return ""
    is_routed = not is_own(call) and any(route.path == _ROUTED for route in call.routes)
    return f"{call.base_url}/endpoints/{record.name}" if is_routed else record.host.address


def _reason(records: RecordStore, record: EndpointRecord) -> str:
    """Why an endpoint isn't Healthy, or what it is at."""
    if record.state is EndpointState.TRANSITIONING:
        events = records.endpoints.events(record.name)
        return events[-1].text if events else "It waits for a machine that runs it"
    if record.state is EndpointState.UNSCHEDULABLE:
        return record.error.message if record.error else "No machine has room for it just now"
    if record.state is EndpointState.IDLE:
        return "Nobody asked it anything for a while; the next request starts it"
    return record.error.message if record.error else ""


def _models(deployment: DeploymentRecord) -> list[Model]:
    parts = (model.rpartition(":") for model in deployment.spec.models)
    return [Model(name, int(version)) for name, _, version in parts]


def _deployment(record: EndpointRecord, deployment: DeploymentRecord) -> Deployment:
    spec = deployment.spec
    return Deployment(
        number=deployment.number,
        state=deployment.state.value,
        look=words.look_of_endpoint(deployment.state),
        reason=deployment.error.message if deployment.error else "",
        models=_models(deployment),
        framework=spec.framework,
        percent=record.serving.get(deployment.number, 0),
        wanted=record.wanted.get(deployment.number, 0),
        workers=spec.workers,
        cpu=spec.cpu,
        memory_gb=spec.memory_gb,
        environment="" if spec.environment is None else str(spec.environment.get("name") or "given by hand"),
        versions=deployment.versions,
        created_ms=deployment.created_ms,
    )


def _log(records: RecordStore, name: str, number: int, level: str) -> LogPart | None:
    try:
        return part_of(records, endpoint_container(name), log_path(number), level=level)
    except NotFound:  # its processes haven't begun
        return None


def _goes_on(record: EndpointRecord, number: int) -> bool:
    """Whether a deployment may print more."""
    states = [each.state for each in record.deployments if each.number == number]
    return bool(states) and states[0] not in (EndpointState.FAILED, EndpointState.STOPPED)


def log_path(number: int) -> str:
    """Where the log of a deployment is among an endpoint's files."""
    return f"logs/{number}.txt"


_kept: dict[tuple[object, ...], Described] = {}
_keeping = threading.Lock()


def _described(records: RecordStore, record: EndpointRecord) -> Described | None:
    """What the endpoint takes, asked once for what serves: it doesn't change while that doesn't."""
    key = (str(records.folder), record.name, record.created_ms, tuple(sorted(record.serving)))
    with _keeping:
        found = _kept.get(key)
    if found is None and (found := described(records, record)) is not None:
        with _keeping:
            _kept[key] = found
            while len(_kept) > _MOST_DESCRIBED:
                del _kept[next(iter(_kept))]
    return found
