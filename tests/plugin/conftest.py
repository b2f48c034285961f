import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_amlstore.pytest_plugin import mlflow_pointed_at
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[EmbeddedWorkspace]:
    opened = create_workspace(tmp_path / "ws")
    yield opened
    opened.close()


@pytest.fixture
def client(workspace: EmbeddedWorkspace) -> Iterator[MlflowClient]:
    """A client of the workspace, which MLflow's fluent functions use too."""
    with mlflow_pointed_at(workspace.root_uri):
        yield MlflowClient()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow's own, which takes seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{file}")
    client.search_registered_models()
    client.search_experiments()
    return file


@pytest.fixture
def sqlite_client(empty_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of MLflow's own store, for comparing."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of its own store in ./mlruns
    file = shutil.copy(empty_sqlite, tmp_path / "mlflow.db")
    return MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}")
