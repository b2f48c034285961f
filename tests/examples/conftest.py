import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fork_server import run_forked
from mlflow import MlflowClient
from workspace_folder import folder_of_workspace

from mlflow_amlstore.core import Workspace

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def run_example_in() -> Callable[..., str]:
    """Run an example as a user would, in a folder; returns what it printed."""

    def run(folder: Path, name: str, *arguments: str) -> str:
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        done = run_forked([EXAMPLES / name, *arguments], cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_example(run_example_in: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Run an example as a user would, in an empty folder; returns what it printed."""
    return partial(run_example_in, tmp_path)


@pytest.fixture
def open_client(tmp_path: Path) -> Callable[[], MlflowClient]:
    """MLflow's client over the workspace that an example made where it makes one unless told otherwise."""

    def client() -> MlflowClient:
        uri = Workspace.from_config(tmp_path / "amlstore-workspace").get_mlflow_tracking_uri()
        return MlflowClient(uri, uri)

    return client


@pytest.fixture(params=["embedded", "served"])
def workspace_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The folder of the workspace that examples log into, which they make, and then that of a service."""
    with folder_of_workspace(request.param, tmp_path) as folder:
        yield folder
