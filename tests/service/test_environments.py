"""Registered environments, as Azure ML's SDK asks for them (what the SDK itself makes of it: tests/interop)."""

from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service

# As the SDK spells it.
SENT = {
    "Name": "iris",
    "python": {"userManagedDependencies": True},
    "EnvironmentVariables": {"password": "of a test"},
    "Docker": {"baseImage": None, "baseImageRegistry": {"address": "registry.example", "password": "hunter2"}},
    "Spark": {"packages": []},
    "InferencingStackVersion": None,
    "r": {"gitHubPackages": [{"repository": "a/b", "authToken": "hunter2"}]},
}
TOLD = {
    "python": {"userManagedDependencies": True},
    "environmentVariables": {"password": "of a test"},
    "docker": {"baseImage": None, "baseImageRegistry": {"address": "registry.example", "password": None}},
    "spark": {"packages": []},
    "inferencingStackVersion": None,
}


class Environments:
    """Calls of a service's environments and submissions."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def call(self, method: str, path: str, body: Any = None, version: str = "v1.0", role: Role = Role.OWNER) -> Any:
        path = f"/environment/{version}{workspace_path(self._service.workspace_name)}/environments/{path}"
        return self._service.call(method, path, self._service.token_of(role), body)

    def refusal(self, *call: Any, **named: Any) -> tuple[int, str]:
        with pytest.raises(HTTPError) as refused:
            self.call(*call, **named)
        return refused.value.code, refused.value.read().decode()

    def submitted(self, run_id: str, environment: Any) -> Any:
        """The environment in the record of a run that was submitted with this one."""
        at = workspace_path(self._service.workspace_name)
        body = {"Configuration": {"target": "pool", "script": "train.py", "environment": environment}}
        path = f"/execution/v1.0{at}/experiments/Default/snapshotrun?runId={run_id}"
        self._service.call("POST", path, self._service.token_of(Role.SUBMITTER), body)
        path = f"/history/v1.0{at}/experiments/Default/runs/{run_id}/details"
        return self._service.call("GET", path, self._service.token)["runDefinition"]["environment"]


@pytest.fixture
def environments(service: "Service") -> Environments:
    return Environments(service)


def test_a_definition_is_told_as_it_was_sent_but_for_secrets(environments: Environments) -> None:
    told = {**TOLD, "name": "told", "version": "1"}
    assert environments.call("PUT", "told", SENT, role=Role.CONTRIBUTOR) == told
    assert environments.call("PUT", "told/versions/7", SENT) == told  # the same is the same version
    for path in ("told", "told/versions/1", "told/labels/latest"):
        assert environments.call("GET", path, role=Role.READER) == told
    assert told in environments.call("GET", "", role=Role.READER)["value"]
    assert environments.call("PUT", "told/versions/7", {**SENT, "Spark": None})["version"] == "7"


def test_a_reader_registers_nothing(environments: Environments) -> None:
    assert environments.refusal("PUT", "a-readers", SENT, role=Role.READER)[0] == 403


def test_what_isnt_there_or_cant_be_is_said(environments: Environments) -> None:
    environments.call("PUT", "known", SENT)
    status, said = environments.refusal("GET", "known/versions/2")
    assert (status, "versions: 1" in said) == (404, True)
    assert environments.refusal("GET", "known/labels/stable")[0] == 404
    assert environments.refusal("PUT", "known/versions/1/metadata", {"Labels": ["stable"]})[0] == 501
    status, said = environments.refusal("POST", "known/versions/1/image", {}, version="v2.0")
    assert (status, "built from its packages on the machine" in said) == (501, True)


def test_a_submission_may_name_one_and_keeps_no_secret(environments: Environments, service: "Service") -> None:
    agent = service.token_of(Role.AGENT)
    path = f"/execution/v1.0{workspace_path(service.workspace_name)}/computes/pool/agents"
    service.call("POST", path, agent, {"slots": 1})
    registered = environments.call("PUT", "named", SENT)
    assert environments.submitted("by-name", {"name": "named"}) == registered
    assert environments.submitted("by-version", {"name": "named", "version": "1"}) == registered
    own = {"name": "own", "docker": SENT["Docker"], "r": SENT["r"]}
    assert environments.submitted("defined", own) == {"name": "own", "docker": TOLD["docker"]}
    with pytest.raises(HTTPError) as refused:
        environments.submitted("by-no-name", {"name": "never"})
    assert refused.value.code == 404
