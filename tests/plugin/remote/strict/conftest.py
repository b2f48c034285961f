"""The same clients on a workspace that is as strict as Azure ML (`amlstore serve --parity`)."""

import textwrap
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from fork_server import run_forked
from forked_service import ForkedService

OtherProcess = Callable[..., str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("strict"), "--parity") as running:
        yield running


@pytest.fixture
def other_process(service: ForkedService) -> OtherProcess:
    """Runs a script in a process of its own, as `run_script` does."""
    return partial(run_script, service)


def run_script(service: ForkedService, script: str, *arguments: str) -> str:
    """Run a script in a process of its own and return what it prints. It has `client`, and in `run_id` its first
    argument."""
    begin = (
        "import sys, mlflow\nfrom mlflow import MlflowClient\nfrom mlflow.entities import Param\n"
        "client, run_id = MlflowClient(), sys.argv[1]\n"
    )
    code = begin + textwrap.dedent(script)
    return run_forked(["-c", code, *arguments], env=service.environment, check=True).stdout
