"""Submitting on a workspace of Azure ML: the SDK's calls, answered here by our service with a pool of agents."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure_cloud import Cloud

from mlflow_amlstore.core import Experiment, ScriptRunConfig, Workspace
from mlflow_amlstore.errors import NotSupported

AGENT = "from mlflow_amlstore.cli import main; main()"


@pytest.fixture
def workspace(cloud: Cloud, tmp_path: Path) -> Iterator[Workspace]:
    given = {"name": "agent", "role": "agent"}
    key = cloud.call("POST", "/auth/keys", cloud.exchange(cloud.key), given)["key"]
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, "agent", "--url", cloud.url, "--compute", "cpu-cluster", "--trust-submitters"],
        env={**os.environ, "AMLSTORE_KEY": key, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    assert agent.stdout.readline().startswith("Working for cpu-cluster")
    yield Workspace(*cloud.names, cloud.credential())
    agent.kill()
    agent.wait()


def source(folder: Path, script: str) -> str:
    folder.mkdir()
    (folder / "train.py").write_text(script)
    return str(folder)


def test_a_script_runs_on_a_compute_target_and_is_waited_for(workspace: Workspace, tmp_path: Path) -> None:
    folder = source(
        tmp_path / "source",
        "import sys\nfrom azureml.core import Run\nRun.get_context().log('loss', 0.5)\nprint('ran', sys.argv[1:])\n",
    )
    config = ScriptRunConfig(folder, "train.py", ["--alpha", 0.1], compute_target="cpu-cluster")
    run = Experiment(workspace, "submitted").submit(config, tags={"stage": "try"})
    details = run.wait_for_completion(show_output=True)
    assert (details["status"], details["target"]) == ("Completed", "cpu-cluster")
    assert run.get_tags() == {"stage": "try"}
    assert run.get_metrics() == {"loss": 0.5}
    assert "ran ['--alpha', '0.1']" in run.get_details_with_logs()["logFiles"]["user_logs/std_log.txt"]


def test_a_canceled_run_is_canceled(workspace: Workspace, tmp_path: Path) -> None:
    folder = source(tmp_path / "source", "import time\ntime.sleep(600)\n")
    run = Experiment(workspace, "submitted").submit(ScriptRunConfig(folder, "train.py", compute_target="cpu-cluster"))
    run.cancel()
    assert run.wait_for_completion()["status"] == "Canceled"


def test_this_machine_is_no_target_of_azure_ml(workspace: Workspace, tmp_path: Path) -> None:
    folder = source(tmp_path / "source", "print('ran')\n")
    with pytest.raises(NotSupported, match="Name a compute target of the workspace"):
        Experiment(workspace, "submitted").submit(ScriptRunConfig(folder, "train.py"))
