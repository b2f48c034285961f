"""The examples that know nothing of services, unedited, where config.json names a service instead of a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from workspace_folder import folder_of_workspace

pytestmark = pytest.mark.needs("sklearn")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MlflowClient]:
    """What the service that examples find wrote, read from its folder."""
    with folder_of_workspace("served", tmp_path) as folder:
        yield MlflowClient(f"amlstore://{folder}", f"amlstore://{folder}")


def test_track_diabetes(client: MlflowClient, run_example: Callable[..., str]) -> None:
    printed = run_example("track_diabetes.py", "--alpha", "0.2")
    (run,) = client.search_runs([client.get_experiment_by_name("diabetes").experiment_id])
    assert (run.info.status, run.data.params) == ("FINISHED", {"alpha": "0.2"})
    assert run.info.run_id in printed
    assert f"{run.data.metrics['mse']:.2f}" in printed
    assert client.get_model_version_by_alias("diabetes_model", "champion").run_id == run.info.run_id
    assert [file.path for file in client.list_artifacts(run.info.run_id, "outputs")] == ["outputs/model.pkl"]


def test_autolog_sweep(client: MlflowClient, run_example: Callable[..., str]) -> None:
    run_example("autolog_sweep.py")
    runs = client.search_runs([client.get_experiment_by_name("diabetes-sweep").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 7
    assert sum("training_mean_squared_error" in run.data.metrics for run in runs) == 6


@pytest.mark.needs("pytorch_lightning")
def test_lightning_digits(client: MlflowClient, run_example: Callable[..., str]) -> None:
    run_example("lightning_digits.py", "--epochs", "2")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id], order_by=["start_time ASC"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    folders = [entry.path for entry in client.list_artifacts(runs[0].info.run_id)]
    assert folders == ["epoch=0-step=23", "epoch=1-step=46", "last"]
