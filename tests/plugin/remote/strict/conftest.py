"""The same clients on a workspace that is as strict as Azure ML (`amlstore serve --parity`)."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from mlflow_amlstore.pytest_plugin import AmlstoreService

OtherProcess = Callable[..., str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmlstoreService]:
    with AmlstoreService(tmp_path_factory.mktemp("strict"), "--parity") as running:
        yield running


@pytest.fixture
def other_process(service: AmlstoreService) -> OtherProcess:
    """Runs a script in a process of its own and returns what it prints. It has `client`, and in `run_id` its first
    argument."""
    begin = (
        "import sys, mlflow\nfrom mlflow import MlflowClient\nfrom mlflow.entities import Param\n"
        "client, run_id = MlflowClient(), sys.argv[1]\n"
    )

    def run(script: str, *arguments: str) -> str:
        command = [sys.executable, "-c", begin + textwrap.dedent(script), *arguments]
        return subprocess.check_output(command, env=service.environment, text=True, timeout=120)

    return run
