"""No query field and no text in a request's JSON leads out of the workspace.

What is attacked comes from the route table, so a new route or field is attacked too.
"""

import json
import types
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest

from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.execution.submissions import Submission
from mlflow_amlstore.service.files.proxy import AbortMultipart, CompleteMultipart
from mlflow_amlstore.service.routing import Route

if TYPE_CHECKING:
    from tests.service.traversal.conftest import Answer, Attacker

READS_NO_BODY = {"give_zip", "local_run"}  # the second reads parts of a form
STREAMED_JSON = {"snapshot_run": Submission, "complete_multipart": CompleteMultipart, "abort_multipart": AbortMultipart}


def body_of(route: Route) -> type[msgspec.Struct] | None:
    """The struct that a route takes; a list of texts, which one takes, has no fields."""
    body = route.body or STREAMED_JSON.get(route.handler.__name__)
    return None if get_origin(body) is list else body


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


numbers = count()


def a_good(kind: type[msgspec.Struct], known: dict[str, Any], attacked_field: str = "") -> dict[str, Any]:
    """A body that the route would take, as far as one is known."""
    values = {
        "experiment_id": "0", "experiment_ids": ["0"], "run_id": known["run"], "version": "1", "key": "k", "alias": "a",
        "metric_key": "m", "run_ids": [known["run"]], "value": "0", "timestamp": 0, "stage": "None", "role": "reader",
        "source": f"runs:/{known['run']}/kept.txt", "new_name": f"new {next(numbers)}", "models": [], "digest": "d",
        "source_type": "local", "status": "FINISHED", "path": "kept.txt", "upload_id": "0" * 32, "parts": [],
        "model_json": "{}", "stages": [], "model_id": known["model"], "experiment_name": "Default",
        "name": f"new {next(numbers)}" if kind.__name__.startswith(("Create", "NewKey")) else "model",
    }  # fmt: skip
    if kind.__name__ == "CreateModelVersion":
        values["name"] = "model"
    taken = {one.encode_name: one for one in msgspec.structs.fields(kind)}
    is_needed = {name for name, one in taken.items() if one.required}
    if "run_id" in taken and attacked_field not in ("run_uuid", "model_id"):
        is_needed.add("run_id")
    if kind.__name__ == "GetMetricHistoryBulk":
        values["run_id"] = [known["run"]]
    return {name: values[name] if name in values else a_good_struct(taken[name].type, known) for name in is_needed}


def a_good_struct(kind: Any, known: dict[str, Any]) -> Any:
    """Good content of a field: of one that holds structs, good structs."""
    if get_origin(kind) is list:
        return [a_good_struct(get_args(kind)[0], known)]
    return a_good(kind, known) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else "x"


def bodies(kind: type[msgspec.Struct], known: dict[str, Any], form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Good bodies with the form in one text each, named by where it is."""
    for one in msgspec.structs.fields(kind):
        for where, value in texts_in(one.type, known, form):
            yield f"{one.encode_name}{where}", {**a_good(kind, known, one.encode_name), one.encode_name: value}


def texts_in(kind: Any, known: dict[str, Any], form: str) -> Iterator[tuple[str, Any]]:
    """Values of a type that takes text, with the form in it."""
    if kind is str:
        yield "", form
    elif get_origin(kind) is Annotated:
        yield from texts_in(get_args(kind)[0], known, form)
    elif get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            yield from texts_in(member, known, form)
    elif get_origin(kind) is list:
        yield from ((f"[]{where}", [value]) for where, value in texts_in(get_args(kind)[0], known, form))
    elif get_origin(kind) is dict:
        yield from (("{key}", {form: "x"}), ("{value}", {"x": form}))
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from ((f".{where}", value) for where, value in bodies(kind, known, form))


def must_be_refused(attacker: "Attacker", route: Route, where: str, form: str) -> bool:
    """Whether the field takes a path, a model source or a location, and the form leaves its place."""
    if where in ("source", "artifact_location"):
        return form in attacker.leaving | attacker.sources
    if route.path.startswith(("/artifacts/prefix/", "/api/2.0/mlflow-artifacts/mpu/")):
        return False  # there the address has the path; of a local file's the name counts
    return where in ("path", "artifact_directory_path") and form in attacker.leaving


@pytest.mark.parametrize("route", [route for route in ROUTES if body_of(route)], ids=name_of)
def test_no_field_of_a_request_leads_out(attacker: "Attacker", route: Route) -> None:
    kind = body_of(route)
    assert kind is not None
    prefix, *_ = attacker.prefixes_of(route)  # under another one the same function reads the fields
    target = prefix + attacker.filled(route)
    if route.method == "GET":
        for form, text in attacker.written_forms(route):
            for where, fields in bodies(kind, attacker.known, text):
                query = "&".join(f"{name}={one}" for name, value in fields.items() for one in as_list(value))
                check_answer(attacker, route, where, form, attacker.send("GET", f"{target}?{query}"))
    else:
        for form in attacker.forms_for(route):
            for where, body in bodies(kind, attacker.known, form):
                check_answer(attacker, route, where, form, attacker.send(route.method, target, body))


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_answer(attacker: "Attacker", route: Route, where: str, form: str, answer: "Answer") -> None:
    attacker.fields.add((name_of(route), where))
    if where == "paths[].path":  # of many paths each has an answer of its own
        given = json.loads(answer.body)
        assert not (form in attacker.leaving and given["artifactContentInformation"]), (form, given)
    elif must_be_refused(attacker, route, where, form):
        assert 400 <= answer.status < 500, (name_of(route), where, form, answer)
    if route.path.endswith("registered-models/rename") and answer.status == 200:
        attacker.send("POST", "/api/2.0/mlflow/registered-models/create", {"name": "model"})


def test_the_routes_that_read_json_themselves_are_known() -> None:
    reading = {route.handler.__name__ for route in ROUTES if route.streams and route.method == "POST"}
    assert reading == {*STREAMED_JSON, *READS_NO_BODY}
