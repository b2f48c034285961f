import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Done]:
    """Run Python in a process of its own in `tmp_path`: a process can't take back what `azureml` means in it."""

    def run(*arguments: str, **variables: str) -> Done:
        environment = {**os.environ, **variables}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


@pytest.fixture
def installed(python: Callable[..., Done]) -> Callable[..., str]:
    """Run code after install_as_azureml(), and return what it printed."""

    def run(code: str, **variables: str) -> str:
        done = python("-c", f"import mlflow_amlstore\nmlflow_amlstore.install_as_azureml()\n{code}", **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
