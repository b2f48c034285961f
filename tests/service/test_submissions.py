"""Submissions as a service is sent them: what no machine can run is refused before a run is recorded."""

from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service

RUNS = {"script": "train.py"}


@pytest.mark.parametrize("where", ["local", "agents"])
@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ({}, "script"),
        ({"script": "../../etc/passwd"}, "script"),
        ({"script": "/etc/passwd"}, "script"),
        ({"script": ["train.py"]}, "script"),
        ({"script": "train.py", "command": "ls"}, "script"),
        ({**RUNS, "arguments": {"a": 1}}, "arguments"),
        ({**RUNS, "arguments": ["a\0b"]}, "arguments"),
        ({**RUNS, "environment": "mine"}, "environment"),
        ({**RUNS, "environmentVariables": ["A"]}, "environmentVariables"),
        ({**RUNS, "environmentVariables": {"A": None}}, "environmentVariables"),
        ({**RUNS, "environmentVariables": {"A=B": "1"}}, "environmentVariables"),
        ({**RUNS, "environmentVariables": {"A": "\0"}}, "environmentVariables"),
        ({**RUNS, "environment": {"environmentVariables": {"": "1"}}}, "environmentVariables"),
        ({**RUNS, "maxRunDurationSeconds": "1 h"}, "maxRunDurationSeconds"),
        ({**RUNS, "maxRunDurationSeconds": 0}, "maxRunDurationSeconds"),
        ({**RUNS, "nodeCount": "2"}, "node_count"),
    ],
)
def test_what_no_machine_can_run_is_refused_by_name(
    service: "Service", where: str, definition: dict[str, Any], named: str
) -> None:
    at = workspace_path(service.workspace_name)
    service.call("POST", f"/execution/v1.0{at}/computes/pool/agents", service.token_of(Role.AGENT), {"slots": 1})
    target = "pool" if where == "agents" else "local"
    path = f"/execution/v1.0{at}/experiments/Default/runs/bad/{where}"
    body = {"Configuration": {"target": target, **definition}}
    with pytest.raises(HTTPError) as refused:
        service.call("POST", path, service.token_of(Role.SUBMITTER), body)
    assert refused.value.code == 400
    assert named in refused.value.read().decode()
    with pytest.raises(HTTPError) as unknown:
        service.call("GET", f"/history/v1.0{at}/experiments/Default/runs/bad/details", service.token)
    assert unknown.value.code == 404


def test_numbers_are_variables_too(service: "Service") -> None:
    path = f"/execution/v1.0{workspace_path(service.workspace_name)}/experiments/Default/runs/numbers/local"
    body = {"Configuration": {"target": "local", **RUNS, "environmentVariables": {"A": 3, "B": 0.5}}}
    assert service.call("POST", path, service.token_of(Role.SUBMITTER), body)["runId"] == "numbers"
