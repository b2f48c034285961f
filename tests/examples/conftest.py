import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fork_server import run_forked
from forked_service import ForkedService
from mlflow import MlflowClient

from mlflow_amlstore.core import Workspace

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path: Path) -> Callable[..., str]:
    """Run an example as a user would, in an empty folder; returns what it printed."""

    def run(name: str, *arguments: str) -> str:
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        done = run_forked([EXAMPLES / name, *arguments], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def open_client(tmp_path: Path) -> Callable[[], MlflowClient]:
    """MLflow's client over the workspace that an example made where it makes one unless told otherwise."""

    def client() -> MlflowClient:
        uri = Workspace.from_config(tmp_path / "amlstore-workspace").get_mlflow_tracking_uri()
        return MlflowClient(uri, uri)

    return client


@pytest.fixture(params=["embedded", "served"])
def workspace_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The folder of the workspace that examples log into: of the one that they make, then of a service, which the
    config.json where they would make one names."""
    if request.param == "embedded":
        yield tmp_path / "amlstore-workspace"
        return
    with ForkedService(tmp_path) as service:
        (tmp_path / "amlstore-workspace").mkdir()
        (tmp_path / "amlstore-workspace" / "config.json").write_text(json.dumps({"service_url": service.url}))
        yield service.folder
