"""Two clients, each in an environment of its own, and services over TLS for them.

One is `azureml-mlflow`, Microsoft's, with the newest MLflow that it allows; its Python is named by
AMLSTORE_INTEROP_PYTHON, which `tox -e interop` sets after making that environment. The other one is this package.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import Client, Place

PYTHON_VARIABLE = "AMLSTORE_INTEROP_PYTHON"


@pytest.fixture(scope="module")
def real_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Microsoft's client."""
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        pytest.skip(
            f"needs azureml-mlflow in an environment of its own, whose Python {PYTHON_VARIABLE} names: tox -e interop"
        )
    assert Path(python).exists(), f"{PYTHON_VARIABLE} names {python}, which isn't there"
    return Client("azureml-mlflow", python, tmp_path_factory.mktemp("azureml-mlflow") / "home")


@pytest.fixture(scope="module")
def own_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """This package."""
    return Client("mlflow-amlstore", sys.executable, tmp_path_factory.mktemp("mlflow-amlstore") / "home")


@pytest.fixture(scope="module")
def start_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    """Start a service: `start_place("--token-lifetime", "30")`."""
    with ExitStack() as stop:
        yield lambda *options: stop.enter_context(Place(tmp_path_factory.mktemp("place"), *options))
