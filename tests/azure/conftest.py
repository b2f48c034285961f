"""A cloud of this machine's for each test that asks for one."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure_cloud import Cloud

from mlflow_amlstore.pytest_plugin import mlflow_pointed_at


@pytest.fixture
def start_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Cloud]]:
    """Start a cloud, and let this process take it for Azure: `start_cloud("--parity")`."""
    with ExitStack() as stop:

        def start(*options: str) -> Cloud:
            cloud = stop.enter_context(Cloud(tmp_path / f"cloud-{time.monotonic_ns()}", *options))
            told = cloud.client_environment
            for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "REQUESTS_CA_BUNDLE"):
                monkeypatch.setenv(name, told[name])
            for name in ("ARM_CLOUD_METADATA_URL", "AZUREML_CURRENT_CLOUD"):
                monkeypatch.setenv(name, told[name])
            return cloud

        yield start


@pytest.fixture
def cloud(start_cloud: Callable[..., Cloud]) -> Cloud:
    return start_cloud()


@pytest.fixture
def pointed_at() -> Iterator[Callable[[str], None]]:
    """Point MLflow at a tracking URI until the test ends."""
    with ExitStack() as undo:
        yield lambda uri: undo.enter_context(mlflow_pointed_at(uri))
