"""No path parameter, nor the query of a content URL, leads out of the workspace.

What is attacked comes from the route table, so a new route is attacked too.
"""

import re
from typing import TYPE_CHECKING

import pytest

from mlflow_amlstore.service.addresses import BLOB_PREFIX
from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.routing import Area, Route

if TYPE_CHECKING:
    from tests.service.traversal.conftest import Attacker

QUERY_OF_A_CONTENT_URL = ["comp", "blockid", "blocklisttype", "sv", "sr", "sp", "se", "sig"]
PUT_BLOB = {"x-ms-blob-type": "BlockBlob"}

with_parameters = [route for route in ROUTES if "{" in route.path]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", with_parameters, ids=name_of)
def test_no_path_parameter_leads_out(attacker: "Attacker", route: Route) -> None:
    is_supported = not route.summary.startswith("Answers NOT_IMPLEMENTED")
    query = f"?{attacker.known['signed_query']}" if route.area is Area.BLOB else ""
    for prefix in attacker.prefixes_of(route):
        for name in re.findall(r"{(\w+(?::path)?)}", route.path):
            attacker.fields.add((name_of(route), f"{{{name}}}"))
            must_refuse = name.endswith(":path") and is_supported
            for form, text in attacker.written_forms(route):
                target = prefix + attacker.filled(route, name, text) + query
                answer = attacker.send(route.method, target, b"" if route.body is None else {}, PUT_BLOB)
                assert answer.status >= 400 or not must_refuse or form not in attacker.leaving, (target, answer)


@pytest.mark.parametrize("route", [route for route in with_parameters if "{origin}" in route.path], ids=name_of)
def test_no_name_or_path_of_an_upload_leads_out(attacker: "Attacker", route: Route) -> None:
    """Its container's name is the client's own choice."""
    (prefix,) = attacker.prefixes_of(route)
    for name in set(re.findall(r"{(\w+(?::path)?)}", route.path)) - {"origin"}:
        attacker.fields.add((name_of(route), f"{{{name}}} of LocalUpload"))
        for form, text in attacker.written_forms(route):
            target = prefix + attacker.filled(route, name, text).replace("/ExperimentRun/", "/LocalUpload/")
            answer = attacker.send(route.method, target.replace("/dcid.", "/"), {"paths": [{"path": "x"}]})
            assert answer.status >= 400 or form not in attacker.leaving, (target, answer)


@pytest.mark.parametrize("area", [Area.MLFLOW, Area.HISTORY, Area.ARTIFACT])
def test_no_part_of_a_workspaces_address_leads_out(attacker: "Attacker", area: Area) -> None:
    route = next(
        route for route in ROUTES if route.area is area and route.method == "GET" and "artifacts" in route.path
    )
    segments = (attacker.prefixes_of(route)[-1] + attacker.filled(route)).split("/")
    for place in range(1, len(segments)):
        for form in attacker.leaving:
            attacker.send("GET", "/".join([*segments[:place], attacker.as_it_is(form), *segments[place + 1 :]]))


@pytest.mark.parametrize("route", [route for route in with_parameters if route.area is Area.BLOB], ids=name_of)
def test_no_query_field_of_a_content_url_leads_out(attacker: "Attacker", route: Route) -> None:
    target = f"{BLOB_PREFIX}/0/{attacker.known['run']}/artifacts/put.txt"
    for name in QUERY_OF_A_CONTENT_URL:
        attacker.fields.add((name_of(route), name))
        rest = re.sub(rf"(^|&){name}=[^&]*", "", attacker.known["signed_query"])
        part = {"blockid": "&comp=block", "blocklisttype": "&comp=blocklist"}.get(name, "")
        for _, text in attacker.written_forms(route):
            answer = attacker.send(route.method, f"{target}?{rest}{part}&{name}={text}", b"x", PUT_BLOB)
            assert answer.status >= 400 or name not in ("sv", "sp", "se", "sig"), (name, text, answer)


def test_a_block_list_can_name_no_file_of_the_machine(attacker: "Attacker") -> None:
    path = f"{BLOB_PREFIX}/0/{attacker.known['run']}/artifacts/put.txt?{attacker.known['signed_query']}&comp=blocklist"
    for uri in ("file:///etc/passwd", "../canary", "http://127.0.0.1:1/x"):
        document = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{uri}">]><BlockList><Latest>&x;</Latest></BlockList>'
        assert attacker.send("PUT", path, document.encode()).status == 400
