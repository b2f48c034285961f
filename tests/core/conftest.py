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


@pytest.fixture
def served_ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace behind a service of its own; the current folder is another, empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with ForkedService(tmp_path / "workspace") as service:
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        workspace = Workspace.from_url(service.url)
        yield workspace
        workspace.close()


@pytest.fixture
def ws(request: pytest.FixtureRequest) -> Workspace:
    """An empty workspace, embedded unless a test asks for each kind with `EACH_KIND`: code can't tell which."""
    kind = getattr(request, "param", "embedded")
    workspace: Workspace = request.getfixturevalue(f"{kind}_ws")
    return workspace


@pytest.fixture
def experiment(ws: Workspace) -> Experiment:
    return Experiment(ws, "diabetes")


@pytest.fixture
def run(experiment: Experiment) -> Run:
    """A run that was just started."""
    return experiment.start_logging()
