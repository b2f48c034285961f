"""A script for Azure ML's SDK, unedited, on a folder and on a service."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from fork_server import run_forked
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("sklearn")

EXAMPLE = Path(__file__).parents[2] / "examples" / "old_azureml_script.py"


def test_it_runs_and_mlflow_reads_what_it_logged(workspace_folder: Path, tmp_path: Path) -> None:
    command = ["-m", "mlflow_amlstore.azureml", str(EXAMPLE), "--alphas", "0.1", "0.5"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = run_forked(command, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr

    uri = f"amlstore://{workspace_folder}"
    client = MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("old-diabetes").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert children.keys() == {"alpha 0.1", "alpha 0.5"}
    best = min(child.data.metrics["mse"] for child in children.values())
    assert parent.data.metrics["mse"] == best
    assert f"'mse': {best}}}" in done.stdout

    run_id = parent.info.run_id
    assert parent.data.tags["phase"] == "search"
    assert [point.value for point in client.get_metric_history(run_id, "alphas")] == [0.1, 0.5]
    assert [point.value for point in client.get_metric_history(run_id, "errors.alpha")] == [0.1, 0.5]
    version = client.get_model_version("old_diabetes", "1")
    assert (version.run_id, float(version.tags["alpha"])) == (run_id, parent.data.metrics["alpha"])
    assert [file.path for file in client.list_artifacts(run_id, "outputs")] == ["outputs/model.pkl"]
    pictures = [file.path for file in client.list_artifacts(run_id) if file.path.startswith("predicted")]
    assert len(pictures) == (find_spec("matplotlib") is not None)
    assert re.search(r"^SDK version: 1\.61\.0\+amlstore\.", done.stdout)
