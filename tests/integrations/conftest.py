"""Workspaces for the libraries to log into, and MLflow's own commands on them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient

# Read by Keras and Hugging Face's libraries as the tests import them.
os.environ["KERAS_BACKEND"] = "torch"  # PyTorch computes: TensorFlow isn't needed
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is looked up elsewhere


@pytest.fixture(params=["amlstore_workspace", "amlstore_service"], ids=["folder", "service"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    """A client of an empty workspace that MLflow tracks into: one in a folder, then one behind a service."""
    request.getfixturevalue(request.param)
    return MlflowClient()


@pytest.fixture
def environment(client: MlflowClient) -> dict[str, str]:
    """The environment of a process that tracks into the client's workspace, and finds this Python first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PATH": path}


@pytest.fixture
def start_mlflow(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a command of MLflow's that serves, and return its URL once it answers; it ends with the test."""
    with ExitStack() as running:
        yield lambda *arguments: running.enter_context(_serving(arguments, environment, tmp_path / "mlflow.log"))


@contextmanager
def _serving(arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health").ok
    except requests.ConnectionError:
        return False
