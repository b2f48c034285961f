"""An endpoint of a service: an agent takes it, its host runs it, and the service leads to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from forked_service import ForkedService
from waiting import wait_for

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.run_history.remote_records import RemoteRecords
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.records.locations import endpoint_container, run_container
from mlflow_amlstore.records.types import FRAMEWORK_PROPERTY, EndpointSpec, EndpointState

CLI = (sys.executable, "-c", "from mlflow_amlstore.cli import main; main()")
NAME = "diabetes"


class Deployed:
    """An endpoint of a service with an agent."""

    def __init__(self, service: ForkedService, records: RemoteRecords, agent: "subprocess.Popen[bytes]") -> None:
        self.service, self.records, self.agent = service, records, agent

    def deploy(self, version: int) -> None:
        """Have a version answer, and wait until it does."""
        deployment = deployment_of(self.records, [self.records.models.get_version("ridge", version)])
        if version == 1:
            self.records.endpoints.create(EndpointSpec(NAME, "AKS", "pool"), deployment)
        else:
            self.records.endpoints.deploy(NAME, deployment)
        wait_for(lambda: self.serves(version))

    def serves(self, number: int) -> bool:
        record = self.records.endpoints.get(NAME)
        assert record.state is not EndpointState.FAILED, record.error
        return record.serving == {number: 100} and record.state is EndpointState.HEALTHY

    def ask(self, key: str | None = None) -> requests.Response:
        host = wait_for(lambda: self.records.endpoints.get(NAME).host)
        headers = {"Authorization": f"Bearer {key or self.records.endpoints.keys(NAME)[0]}"}
        return requests.post(f"{host.address}/score", json={"data": [[2.0]]}, headers=headers, timeout=60)

    def processes(self, module: str) -> list[int]:
        """The endpoint's processes of a module of `hosting`."""
        folder = str(EndpointFolder.of(connection_of(self.service.tracking_uri).root, NAME).path).encode()
        found = []
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if f"hosting.{module} import".encode() in command and folder in command:
                    found.append(int(process.name))
        return found


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    skops = pytest.importorskip("skops.io")
    linear_model = pytest.importorskip("sklearn.linear_model")
    with ForkedService(tmp_path) as service:
        given = {"name": "agents", "role": "agent"}
        key = service.call("POST", "/auth/keys", service.exchange(service.key), given)["key"]
        command = [*CLI, "agent", "--url", service.url, "--compute", "pool", "--slots", "1", "--trust-submitters"]
        agent = subprocess.Popen(command, env={**os.environ, "AMLSTORE_KEY": key}, stdout=subprocess.DEVNULL)
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        records = RemoteRecords(connection_of(service.tracking_uri))
        records.runs.create("0", run_id="run")
        for version, slope in ((1, 1.0), (2, 10.0)):
            model = skops.dumps(linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, slope]))
            records.files.write(run_container("0", "run"), f"{version}/model.skops", BytesIO(model))
            source = f"workspace:/0/run/artifacts/{version}/model.skops"
            records.models.register("ridge", source, run_id="run", properties={FRAMEWORK_PROPERTY: "ScikitLearn"})
        wait_for(lambda: [target for target in records.compute_targets.list() if target.name == "pool"])
        deployed = Deployed(service, records, agent)
        yield deployed
        for name in [record.name for record in records.endpoints.list()]:
            records.endpoints.delete(name)
        wait_for(lambda: not deployed.processes("guardian"))
        agent.kill()
        agent.wait()
        records.close()


def answer_of(response: requests.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def test_it_is_deployed_updated_and_deleted(deployed: Deployed) -> None:
    deployed.deploy(1)
    assert answer_of(deployed.ask()) == pytest.approx([2.0])
    deployed.deploy(2)
    wait_for(lambda: answer_of(deployed.ask()) == pytest.approx([20.0]))  # the service looks twice a second
    assert answer_of(deployed.ask()) == pytest.approx([20.0])
    with deployed.records.files.open(endpoint_container(NAME), "logs/2.txt") as log:
        assert isinstance(log.read(), bytes)
    old = deployed.records.endpoints.keys(NAME)[0]
    deployed.records.endpoints.set_key(NAME, "primary")
    wait_for(lambda: deployed.ask(old).status_code == 401)
    wait_for(lambda: deployed.ask().status_code == 200)
    deployed.records.endpoints.delete(NAME)
    wait_for(lambda: not deployed.processes("host"))


def test_it_goes_on_where_its_agent_is_killed_and_is_back_where_its_host_is(deployed: Deployed) -> None:
    deployed.deploy(1)
    deployed.agent.kill()
    (host,) = deployed.processes("host")
    os.kill(host, signal.SIGKILL)
    wait_for(lambda: deployed.processes("host") not in ([], [host]))
    wait_for(lambda: deployed.ask().status_code == 200)
    assert answer_of(deployed.ask()) == pytest.approx([2.0])
