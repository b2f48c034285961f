"""Whether the service lives and is ready, and what it has done, for those who run it."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mlflow_amlstore.service.routing import Access, Area, Call, Right, Role, Routes

ROUTES = Routes(Area.ROOT)
MLFLOW_API_VERSION = "3.17.0"  # the release whose REST API this is; MLflow's clients ask for it

_REGISTRY = CollectorRegistry()
_REQUESTS = Counter("amlstore_requests", "Requests answered.", ["route", "status"], registry=_REGISTRY)
_SECONDS = Histogram(
    "amlstore_request_seconds",
    "From a request's first byte read to its answer handed to the network.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
    registry=_REGISTRY,
)
_IN_PROGRESS = Gauge("amlstore_requests_in_progress", "Requests being answered.", registry=_REGISTRY)
_STARTED = Gauge("amlstore_start_time_seconds", "When the service started (UTC).", registry=_REGISTRY)
_STARTED.set(time.time())
_counted: dict[tuple[str, int], Counter] = {}
_timed: dict[str, Histogram] = {}


class Health(msgspec.Struct, frozen=True):
    """How the service is."""

    status: str


def count_in_progress(count: Callable[[], int]) -> None:
    """Say how to find out how many requests are being answered."""
    _IN_PROGRESS.set_function(count)


def request_ended(route: str, status: int, seconds: float) -> None:
    """Count an answer. `route` is a template of the route table, never a path that a client chose."""
    counted = _counted.get((route, status))
    if counted is None:
        counted = _counted[route, status] = _REQUESTS.labels(route, str(status))
    counted.inc()
    timed = _timed.get(route)
    if timed is None:
        timed = _timed[route] = _SECONDS.labels(route)
    timed.observe(seconds)


@ROUTES.get("/health", Access.PUBLIC)
async def health(call: Call, request: Request) -> Response:
    """Answer OK, as MLflow's server does, where the records can be read."""
    await asyncio.to_thread(ready, call)
    return PlainTextResponse("OK")


@ROUTES.get("/health/live", Access.PUBLIC)
async def live(call: Call, request: Request) -> Response:
    """Answer that the process lives."""
    return PlainTextResponse("OK")


@ROUTES.get("/health/ready", Access.PUBLIC)
def ready(call: Call) -> Health:
    """Answer whether the records can be read."""
    call.records.keys.find("")
    return Health("ready")


@ROUTES.get("/metrics", Role.READER)
async def metrics(call: Call, request: Request) -> Response:
    """Give Prometheus' metrics."""
    return Response(generate_latest(_REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@ROUTES.get("/version", Role.READER, Right.TRACK)
async def version(call: Call, request: Request) -> Response:
    """Give the MLflow release whose REST API this is, as MLflow's server does."""
    return PlainTextResponse(MLFLOW_API_VERSION)
