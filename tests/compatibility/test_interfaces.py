"""What the version before offers is still offered: names and parameters, commands, and the service's JSON."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import workspace_script
from earlier_code import CodeProcess

from mlflow_amlstore.pytest_plugin import AmlstoreService

Json = dict[str, Any]


def test_every_public_name_takes_what_it_took(earlier: CodeProcess) -> None:
    before, now = earlier.call("public_names"), workspace_script.public_names()
    assert len(before) > 300
    assert [lack for name in before for lack in lacks(name, before[name], now.get(name))] == []


def lacks(name: str, before: Any, now: Any) -> Iterator[str]:
    """What callers of a name, or users of a command, can't do any more."""
    if now is None:
        yield f"{name} is gone"
    elif isinstance(before, dict):
        yield from (f"{name} has no {option}" for option in before["options"] if option not in now["options"])
        yield from (f"{name} needs {option}" for option in now["needed"] if option not in before["needed"])
    elif before:
        parameters = {parameter: (kind, may_be_left_out) for parameter, kind, may_be_left_out in now}
        for parameter, kind, may_be_left_out in before:
            if parameters.get(parameter, ("", False))[0] != kind or parameters[parameter][1] < may_be_left_out:
                yield f"{name} takes no {parameter}, or otherwise"
        for parameter, (kind, may_be_left_out) in parameters.items():
            if not may_be_left_out and not kind.startswith("VAR") and parameter not in [known for known, *_ in before]:
                yield f"{name} needs {parameter}"
        by_place = [[parameter for parameter, kind, _ in one if kind.startswith("POSITIONAL")] for one in (before, now)]
        if by_place[1][: len(by_place[0])] != by_place[0]:
            yield f"{name} takes {by_place[1]} in another order than {by_place[0]}"


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ("def f(a, b=1): ...", []),
        ("def f(a, b=1, c=2): ...", []),
        ("def f(a, b=1, *, c=2, **more): ...", []),
        ("def f(a, c=1): ...", ["f takes no b, or otherwise", "f takes ['a', 'c'] in another order than ['a', 'b']"]),
        ("def f(b=1, a=2): ...", ["f takes ['b', 'a'] in another order than ['a', 'b']"]),
        ("def f(a, b): ...", ["f takes no b, or otherwise"]),
        ("def f(a, b=1, *, c): ...", ["f needs c"]),
    ],
)
def test_a_change_that_breaks_callers_would_be_found(now: str, found: list[str]) -> None:
    names: Json = {}
    exec(now, names)
    before = [["a", "POSITIONAL_OR_KEYWORD", False], ["b", "POSITIONAL_OR_KEYWORD", True]]
    assert list(lacks("f", before, workspace_script.signature_of(names["f"]))) == found


@pytest.fixture(scope="module")
def documents(
    services: dict[str, AmlstoreService],
) -> dict[str, Json]:
    """What each version's service says of itself, as OpenAPI."""
    return {
        name: service.call("GET", "/openapi.json", service.exchange(service.key)) for name, service in services.items()
    }


def test_every_route_takes_and_answers_what_it_did(documents: dict[str, Json]) -> None:
    assert len(operations(documents["earlier"])) > 100
    assert list(broken(documents["earlier"], documents["today"])) == []


def operations(document: Json) -> dict[str, Json]:
    """The operations by method and path, in which a parameter's name means nothing."""
    paths = document["paths"].items()
    return {f"{method} {re.sub('{.*?}', '{}', path)}": one for path, item in paths for method, one in item.items()}


def broken(before: Json, now: Json) -> Iterator[str]:
    """What a client of the version before can't send any more, or waits for in vain."""
    then, today = operations(before), operations(now)
    for name, operation in then.items():
        if name not in today:
            yield f"{name} is gone"
            continue
        sent = [dict(fields(request_of(one), of)) for one, of in ((operation, before), (today[name], now))]
        yield from (f"{name} takes no {field}" for field in sent[0] if field not in sent[1])
        needed = [field for field, (_, is_needed) in sent[1].items() if is_needed]
        yield from (f"{name} needs {field}" for field in needed if not sent[0].get(field, ("", False))[1])
        for field in sent[0].keys() & sent[1].keys():
            if not sent[0][field][0] <= sent[1][field][0]:
                yield f"{name} takes {field} as {sorted(sent[1][field][0])} alone"
        answered = [dict(fields(answer_of(one), of)) for one, of in ((operation, before), (today[name], now))]
        for field, (kinds, is_sure) in answered[0].items():
            if field not in answered[1] or not answered[1][field][0] <= kinds or is_sure > answered[1][field][1]:
                yield f"{name} answers {field} no more, or otherwise"


def request_of(operation: Json) -> Json:
    query = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    of_query = {one["name"]: one["schema"] for one in query}
    return {"anyOf": [body, {"properties": of_query, "required": [one["name"] for one in query if one["required"]]}]}


def answer_of(operation: Json) -> Json:
    content = operation["responses"]["200"].get("content", {})
    return dict(content.get("application/json", {}).get("schema", {}))


def fields(schema: Json, document: Json, path: str = "", within: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each field that a schema has, by its path: its types, and whether it must be there."""
    found: dict[str, tuple[set[str], bool]] = {}
    for part in alternatives(schema, document, within):
        schema, inside = part
        known = [*schema.get("properties", {}).items()]
        known += [("[]", schema["items"])] if isinstance(schema.get("items"), dict) else []
        known += [("*", schema["additionalProperties"])] if isinstance(schema.get("additionalProperties"), dict) else []
        for name, of_field in known:
            field, is_needed = f"{path}/{name}", name in schema.get("required", ())
            kinds = {str(one.get("type", "any")) for one, _ in alternatives(of_field, document, inside)}
            found[field] = (kinds | found.get(field, (set(), False))[0], is_needed)
            found |= dict(fields(of_field, document, field, inside))
    yield from found.items()


def alternatives(schema: Json, document: Json, within: tuple[str, ...]) -> Iterator[tuple[Json, tuple[str, ...]]]:
    """The schemas that one stands for, none of them a reference; a schema inside itself is none."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in within:
            yield from alternatives(document["components"]["schemas"][name], document, (*within, name))
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from alternatives(one, document, within)
    else:
        yield schema, within


LOG_METRIC = "post /api/2.0/mlflow/runs/log-metric"
GET_RUN = "get /api/2.0/mlflow/runs/get"


@pytest.mark.parametrize("change", ["route", "field taken", "field needed", "field answered", "type"])
def test_a_change_that_breaks_clients_would_be_found(documents: dict[str, Json], change: str) -> None:
    changed = copy.deepcopy(documents["earlier"])
    paths, schemas = changed["paths"], changed["components"]["schemas"]
    log, get = paths["/api/2.0/mlflow/runs/log-metric"], paths["/api/2.0/mlflow/runs/get"]
    body = schemas[log["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    if change == "route":
        del log["post"]
        expected = f"{LOG_METRIC} is gone"
    elif change == "field taken":
        del body["properties"]["step"]
        expected = f"{LOG_METRIC} takes no /step"
    elif change == "field needed":
        body["required"].append("step")
        expected = f"{LOG_METRIC} needs /step"
    elif change == "field answered":
        answer = get["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        del schemas[answer]["properties"]["run"]
        expected = f"{GET_RUN} answers /run no more, or otherwise"
    else:
        body["properties"]["step"] = {"type": "string"}
        expected = f"{LOG_METRIC} takes /step as ['string'] alone"
    assert expected in list(broken(documents["earlier"], changed))
