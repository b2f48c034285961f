"""Calls of Azure ML's routes as they are on the wire, and runs to call them about."""

import json
import urllib.error
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service

AREAS = {"history": "v1.0", "metric": "v2.0", "content": "v2.0", "modelmanagement": "v1.0"}

Call = Callable[..., Any]


class Refused(Exception):
    """What a route answered instead: the status, and the body as text."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def calls_of(service: "Service", role: Role = Role.OWNER) -> Call:
    """A function that calls a service: `call("metric", "POST", "runs/ID/full", {…}, **query)`. It raises Refused."""
    token = service.token_of(role)

    def call(area: str, method: str, route: str, body: object = None, **query: object) -> Any:
        path = quote(f"/{area}/{AREAS[area]}{workspace_path(service.workspace_name)}/{route}")
        try:
            return service.call(method, f"{path}{'?' if query else ''}{urlencode(query)}", token, body)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from error

    return call


def new_run(call: Call, **fields: object) -> str:
    """Make a run of the experiment `e`, and return its id."""
    run_id = uuid.uuid4().hex
    call("history", "POST", "experiments/e")
    call("history", "PATCH", f"experiments/e/runs/{run_id}", {"runId": run_id, **fields})
    return run_id


def refused(call: Call, *arguments: object, **query: object) -> Refused:
    """How a call is refused, with a body in JSON."""
    with pytest.raises(Refused) as raised:
        call(*arguments, **query)
    json.loads(raised.value.body)
    return raised.value


@pytest.fixture
def call(service: "Service") -> Call:
    return calls_of(service)


@pytest.fixture
def run_id(call: Call) -> str:
    return new_run(call)
