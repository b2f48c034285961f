from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_service import ForkedService

from mlflow_amlstore.core import Experiment, Run, Workspace


@pytest.fixture
def embedded_ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An embedded workspace; the current folder is another, empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    workspace = Workspace.create(tmp_path / "workspace")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    """The service of a module's tests."""
    with ForkedService(tmp_path_factory.mktemp("served") / "workspace") as service:
        yield service


@pytest.fixture
def served_ws(service: ForkedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace behind a service, with what the module's tests left; the current folder is another, empty one."""
    yield from _opened(service, tmp_path, monkeypatch)


@pytest.fixture
def served_alone_ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An empty workspace behind a service of its own; the current folder is another, empty one."""
    with ForkedService(tmp_path / "workspace") as service:
        yield from _opened(service, tmp_path, monkeypatch)


def _opened(service: ForkedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("AMLSTORE_KEY", service.key)
    workspace = Workspace.from_url(service.url)
    yield workspace
    workspace.close()


@pytest.fixture
def ws(request: pytest.FixtureRequest) -> Workspace:
    """A workspace, embedded unless a test asks for each kind with `EACH_KIND`: code can't tell which.

    An embedded one is empty. One behind a service has what the module's tests left, unless the test is marked `alone`.
    """
    kind = getattr(request, "param", "embedded")
    if kind == "served" and request.node.get_closest_marker("alone"):
        kind = "served_alone"
    workspace: Workspace = request.getfixturevalue(f"{kind}_ws")
    return workspace


@pytest.fixture
def experiment(ws: Workspace) -> Experiment:
    return Experiment(ws, "diabetes")


@pytest.fixture
def run(experiment: Experiment) -> Run:
    """A run that was just started."""
    return experiment.start_logging()
