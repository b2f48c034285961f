"""A workspace in a folder with registered models, and endpoints that are deployed in it, by their own processes."""

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from waiting import is_running, wait_for

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.hosting.deploying import deployment_of
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder
from mlflow_amlstore.hosting.starting import start
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import EndpointRecord, EndpointSpec, EndpointState
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

ROWS = [[1.0, 2.0], [3.0, 5.0]]


class Processes(NamedTuple):
    """The ids of an endpoint's processes."""

    guardian: int
    host: int
    first: int
    loader: int
    workers: list[int]


class Endpoint:
    """A deployed endpoint, and a client of it."""

    def __init__(self, records: RecordStore, name: str) -> None:
        self.records, self.name = records, name

    @property
    def record(self) -> EndpointRecord:
        return self.records.endpoints.get(self.name)

    @property
    def folder(self) -> EndpointFolder:
        return EndpointFolder.of(str(self.records.folder), self.name)

    def wait_until(self, state: EndpointState = EndpointState.HEALTHY, number: int | None = None) -> EndpointRecord:
        """Wait until a deployment, or the endpoint, is in this state; where it has Failed instead, fail with why."""

        def there() -> EndpointRecord | None:
            record = self.record
            now = record.state if number is None else record.deployment(number).state
            assert now is state or now is not EndpointState.FAILED, record.error
            serves = number is None or state is not EndpointState.HEALTHY or number in record.serving
            return record if now is state and serves else None

        return wait_for(there)

    def ask(self, rows: Any = ROWS, *, key: str | None = None, timeout_s: float = 60) -> requests.Response:
        """Ask for a prediction with the primary key, or another."""
        host = wait_for(lambda: self.record.host)
        given = self.records.endpoints.keys(self.name)[0] if key is None else key
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        return requests.post(f"{host.address}/score", json={"data": rows}, headers=headers, timeout=timeout_s)

    @property
    def log(self) -> str:
        """The log of the newest deployment."""
        container, path = f"endpoints/{self.name}/artifacts", f"logs/{self.record.newest.number}.txt"
        with self.records.files.open(container, path) as source:
            return source.read().decode()

    @property
    def events(self) -> str:
        """What happened, one sentence a line."""
        return "\n".join(event.text for event in self.records.endpoints.events(self.name))

    def processes(self) -> Processes:
        """The processes that run the newest deployment, as soon as all are there."""

        def all_of_them() -> Processes | None:
            of_mine = [pid for pid in _processes() if str(self.folder.path) in _command(pid)]
            named = {
                what: pid for pid in of_mine for what in ("guardian", "host") if f"hosting.{what}" in _command(pid)
            }
            children = [pid for pid in of_mine if _parent(pid) == named.get("host") and "scoring.main" in _command(pid)]
            loaders = [pid for pid in of_mine if _parent(pid) in children]
            workers = [pid for pid in of_mine if _parent(pid) in loaders]
            if len(named) < 2 or not children or not loaders or not workers:
                return None
            return Processes(named["guardian"], named["host"], children[-1], loaders[-1], workers)

        return wait_for(all_of_them)

    def end(self) -> None:
        """Delete it, and wait for its last process."""
        if any(each.name == self.name for each in self.records.endpoints.list()):
            self.records.endpoints.delete(self.name)
        wait_for(lambda: not self.folder.is_looked_after())


def _processes() -> list[int]:
    return sorted(
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and is_running(int(path.name))
    )


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Place:
    """A workspace in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: RecordStore = open_folder(folder).records
        self._run = Experiment(Workspace.from_config(str(folder)), "training").start_logging()
        self._endpoints: list[Endpoint] = []

    def register(self, name: str, file: Path, **given: Any) -> str:
        """Register a file or folder as the next version of a model; return `NAME:VERSION`."""
        path = f"outputs/{name}-{os.urandom(3).hex()}/{file.name}"
        if file.is_dir():
            self._run.upload_folder(path, str(file))
        else:
            self._run.upload_file(path, str(file))
        return self._run.register_model(name, path, **{"model_framework": "ScikitLearn", **given}).id

    def register_pickled(self, name: str, model: object) -> str:
        """Register a pickled model."""
        file = self.folder.parent / "model.pkl"
        file.write_bytes(pickle.dumps(model))
        return self.register(name, file)

    def deploy(
        self, model: str, name: str = "diabetes", endpoint: EndpointSpec | None = None, **given: Any
    ) -> Endpoint:
        """Deploy a model as an endpoint, or as the next deployment of one."""
        registered, _, version = model.rpartition(":")
        spec = deployment_of(self.records, [self.records.models.get_version(registered, int(version))], **given)
        about = replace(endpoint or EndpointSpec(name, "ACI"), name=name)
        self.records.endpoints.create(about, spec, overwrite=True)
        start(self.records, name)
        deployed = Endpoint(self.records, name)
        self._endpoints.append(deployed)
        return deployed

    def end(self) -> None:
        """End all that runs."""
        for endpoint in self._endpoints:
            endpoint.end()
        self._run.complete()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    create_workspace(tmp_path / "workspace")
    there = Place(tmp_path / "workspace")
    yield there
    there.end()


def ridge(scale: float = 1.0) -> Any:
    """A model of two numbers whose prediction is their sum, times the scale."""
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, scale, scale])


@pytest.fixture
def endpoint(place: Place) -> Endpoint:
    """An endpoint that is Healthy."""
    deployed = place.deploy(place.register_pickled("sum", ridge()))
    deployed.wait_until()
    return deployed


Deploy = Callable[..., Endpoint]
