"""`mlflow run` on a project in a folder: its entry point logs into the run that the command made."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

PROJECT = """\
name: lines
entry_points:
  main:
    parameters:
      slope: {type: float, default: 1.0}
      fails: {type: string, default: "no"}
    command: "python train.py {slope} {fails}"
"""
TRAIN = """\
import sys
from pathlib import Path

import mlflow

with mlflow.start_run():
    for step in range(3):
        mlflow.log_metric("height", float(sys.argv[1]) * step, step=step)
    Path("line.txt").write_text(sys.argv[1])
    mlflow.log_artifact("line.txt", "outputs")
    if sys.argv[2] == "yes":
        raise SystemExit("It fails.")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "MLproject").write_text(PROJECT)
    (folder / "train.py").write_text(TRAIN)
    return folder


def run(project: Path, environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mlflow", "run", str(project), "--env-manager", "local", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_entry_points_run_has_its_parameters_metrics_and_files(
    client: MlflowClient, environment: dict[str, str], project: Path
) -> None:
    done = run(project, environment, "--experiment-name", "lines", "--run-name", "steep", "-P", "slope=2.5")
    assert done.returncode == 0, done.stderr

    (found,) = client.search_runs([client.get_experiment_by_name("lines").experiment_id])
    assert (found.info.run_name, found.info.status) == ("steep", "FINISHED")
    assert found.data.params == {"slope": "2.5", "fails": "no"}
    assert found.data.tags["mlflow.source.type"] == "PROJECT"
    assert found.data.tags["mlflow.project.entryPoint"] == "main"
    assert found.data.tags["mlflow.project.backend"] == "local"
    points = client.get_metric_history(found.info.run_id, "height")
    assert [(point.step, point.value) for point in points] == [(0, 0.0), (1, 2.5), (2, 5.0)]
    assert mlflow.artifacts.load_text(f"runs:/{found.info.run_id}/outputs/line.txt") == "2.5"


@pytest.mark.parametrize("client", ["amlstore_workspace"], ids=["folder"], indirect=True)
def test_a_project_that_fails_leaves_a_failed_run(
    client: MlflowClient, environment: dict[str, str], project: Path
) -> None:
    done = run(project, environment, "-P", "fails=yes")
    assert done.returncode != 0
    assert "It fails." in done.stderr

    (found,) = client.search_runs(["0"])
    assert found.info.status == "FAILED"
    assert found.data.metrics == {"height": 2.0}
