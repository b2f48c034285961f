"""A workspace of Azure ML itself, where its owner says which: the interop script, by our client.

AMLSTORE_AZURE_WORKSPACE=SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE, signed in in any way that azure-identity knows. It makes
an experiment, runs and models with names of their own, and leaves them there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_amlstore.core import Workspace

VARIABLE = "AMLSTORE_AZURE_WORKSPACE"
SCRIPT = Path(__file__).parents[1] / "interop" / "script.py"

pytestmark = [
    pytest.mark.azure,
    pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no workspace of Azure ML"),
]


@pytest.fixture
def workspace() -> Workspace:
    return Workspace(*os.environ[VARIABLE].split("/"))


def test_the_interop_script_runs_against_azure(workspace: Workspace, tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": workspace.get_mlflow_tracking_uri()}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "write", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1])


def test_what_doctor_says_of_it(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write_config(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()", "doctor", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    print({name: finding["detail"] for name, finding in found.items()})
    assert found["Azure ML"]["is_ok"]
    assert found["API level"]["is_ok"]
