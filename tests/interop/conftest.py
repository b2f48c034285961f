"""Clients, each in an environment of its own, and services over TLS for them.

Microsoft's are `azureml-mlflow`, with the newest MLflow that it allows, and `azureml-core`, the SDK; their Pythons are
named by AMLSTORE_INTEROP_PYTHON and AMLSTORE_SDK_PYTHON, which `tox -e newest` sets after making these environments.
The other one is this package.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import Client, Place

PYTHON_VARIABLES = {"azureml-mlflow": "AMLSTORE_INTEROP_PYTHON", "azureml-core": "AMLSTORE_SDK_PYTHON"}


@pytest.fixture(scope="module")
def real_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Microsoft's plugin for MLflow."""
    return _client("azureml-mlflow", tmp_path_factory)


@pytest.fixture(scope="module")
def sdk_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Microsoft's SDK."""
    return _client("azureml-core", tmp_path_factory)


def _client(name: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    variable = PYTHON_VARIABLES[name]
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"needs {name} in an environment of its own, whose Python {variable} names: tox -e newest")
    assert Path(python).exists(), f"{variable} names {python}, which isn't there"
    return Client(name, python, tmp_path_factory.mktemp(name) / "home")


@pytest.fixture(scope="module")
def own_client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """This package."""
    return Client("mlflow-amlstore", sys.executable, tmp_path_factory.mktemp("mlflow-amlstore") / "home")


@pytest.fixture(scope="module")
def start_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    """Start a service: `start_place("--token-lifetime", "30")`."""
    with ExitStack() as stop:
        yield lambda *options: stop.enter_context(Place(tmp_path_factory.mktemp("place"), *options))
