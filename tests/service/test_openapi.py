"""The OpenAPI document is valid, complete, and true: what it says may be sent is answered, in the form that it says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_amlstore.service.addresses import RESOURCE_GROUP, SUBSCRIPTION_ID
from mlflow_amlstore.service.app import ROUTES

if TYPE_CHECKING:
    from tests.service.conftest import Service

MAX_EXAMPLES = 4  # of each operation, besides those that its schema alone suggests
METHODS = {"get", "put", "post", "delete", "patch", "head"}

# What schemathesis loads. Half of its cases get an id that exists, or they would all end at "not found".
HOOKS = """
import json, os
import schemathesis

KNOWN = json.loads(os.environ["KNOWN"])
PLACE = json.loads(os.environ["PLACE"])
seen = 0

@schemathesis.hook
def before_call(context, case, kwargs):
    global seen
    seen += 1
    case.path_parameters.update({name: value for name, value in PLACE.items() if name in case.path_parameters})
    if seen % 2:
        for given in (case.path_parameters, case.query, case.body):
            if isinstance(given, dict):
                given.update({name: KNOWN[name] for name in given if name in KNOWN})

@schemathesis.check
def no_failure(context, response, case):
    if response.status_code == 501:
        assert case.operation.definition.raw["summary"].startswith("Answers NOT_IMPLEMENTED") or (
            case.path_parameters.get("origin") not in (None, "ExperimentRun", "LocalUpload")
        ), "501 of an operation that is supported"
    elif response.status_code != 500 or response.json().get("error_code") != "INVALID_STATE":  # a refusal of MLflow's
        assert response.status_code < 500, response.text
"""


@pytest.fixture(scope="module")
def document(service: "Service") -> Any:
    return service.call("GET", "/openapi.json", service.exchange(service.key))


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_it_is_valid_openapi(document: Any) -> None:
    definitions = pytest.importorskip("schemathesis.specs.openapi.definitions")
    assert document["openapi"].startswith("3.1")
    assert list(definitions.OPENAPI_31_VALIDATOR.iter_errors(document)) == []


def test_it_has_every_route_of_the_table_under_every_address_of_its_area(document: Any) -> None:
    listed = {(method, path) for method, path, _ in operations(document)}
    for route in ROUTES:
        path = re.sub(r"{(\w+):path}", r"{\1}", route.path)
        found = [known for method, known in listed if method == route.method.lower() and known.endswith(path)]
        assert found, (route.method, route.path)
    workspaces = [path for _, path in listed if path.startswith(("/mlflow/", "/history/", "/artifact/"))]
    assert all("/workspaces/{ws}/" in path for path in workspaces)


def test_operations_are_told_apart_and_their_parameters_are_those_of_their_path(document: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        assert method in METHODS
        named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert sorted(named) == sorted(re.findall(r"{(\w+)}", path)), (method, path)
        assert operation["summary"].endswith("."), (method, path)


def test_every_reference_leads_somewhere(document: Any) -> None:
    references = set(re.findall(r'"#/components/(\w+)/([^"]+)"', _text(document)))
    assert references
    for kind, name in references:
        assert name in document["components"][kind]


def test_who_may_call_is_said(document: Any) -> None:
    """Only health, discovery and content URLs, which bring their own signature, need no bearer."""
    open_to_all = {path for _, path, operation in operations(document) if "security" not in operation}
    signed = "/amlstore.blob.core.windows.net/{location}"
    assert open_to_all == {"/health", "/health/live", "/health/ready", "/discovery", "/metadata/endpoints", signed}


def test_a_body_that_has_required_fields_is_required(document: Any) -> None:
    """But for DELETE, which may have them in its query."""
    for method, path, operation in operations(document):
        if "requestBody" in operation and method != "delete":
            (content,) = operation["requestBody"]["content"].values()
            if content["schema"].get("type") == "array":
                assert operation["requestBody"]["required"], (method, path)
                continue
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert operation["requestBody"]["required"] == bool(schema.get("required")), path


@pytest.mark.parametrize("phases", ["coverage", pytest.param("fuzzing", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "paths", ["^/(?!mlflow/|history/|artifact/)", "^/(history|artifact)/"], ids=["plain paths", "Azure ML's paths"]
)
def test_schemathesis_finds_no_failure_and_no_malformed_answer(
    service: "Service", tmp_path: Path, paths: str, phases: str
) -> None:
    """With the same seed each time, so that a failure can be had again."""
    pytest.importorskip("schemathesis")
    token = service.exchange(service.key)
    named = {"name": f"of {tmp_path.name}"}  # an experiment of its own, as those that were there may be deleted
    experiment = service.call("POST", "/api/2.0/mlflow/experiments/create", token, named)["experiment_id"]
    of_experiment = {"experiment_id": experiment}
    run = service.call("POST", "/api/2.0/mlflow/runs/create", token, of_experiment)["run"]["info"]["run_id"]
    model = service.call("POST", "/api/2.0/mlflow/logged-models", token, {**of_experiment, "name": "net"})
    known = {
        "run_id": run, "run": run, "container": f"dcid.{run}", "experiment_id": experiment, "experiment": experiment,
        "location": f"{experiment}/{run}/artifacts/x", "model_id": model["model"]["info"]["model_id"],
        "origin": "ExperimentRun",
    }  # fmt: skip
    place = {"sub": SUBSCRIPTION_ID, "rg": RESOURCE_GROUP, "ws": service.workspace_name}
    (tmp_path / "hooks.py").write_text(HOOKS)
    checks = "no_failure,status_code_conformance,content_type_conformance,response_schema_conformance"

    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
            f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {token}", "--checks", checks,
            "--phases", phases, "--max-examples", str(MAX_EXAMPLES), "--seed", "20260131",
            "--generation-database", "none", "--include-path-regex", paths, "--no-color", "--warnings", "off",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path), "KNOWN": _text(known),
             "PLACE": _text(place)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    cases = re.search(r"(\d+) generated", done.stdout)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert cases is not None
    assert service.call("GET", "/health/ready", token) == {"status": "ready"}


def _text(value: Any) -> str:
    return json.dumps(value)
