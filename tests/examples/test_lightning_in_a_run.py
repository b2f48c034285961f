from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("torch", "pytorch_lightning")


def test_the_logger_logs_into_the_run_that_the_script_was_submitted_as(
    workspace_folder: Path, run_example: Callable[..., str]
) -> None:
    printed = run_example("lightning_in_a_run.py", "--epochs", "2")

    client = MlflowClient(f"amlstore://{workspace_folder}")
    (run,) = client.search_runs([client.get_experiment_by_name("digits-submitted").experiment_id])
    assert (run.info.run_name, run.info.status) == ("lightning", "FINISHED")
    assert run.data.params["hidden"] == "64"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")]
    assert steps == [4, 9, 14, 19, 24, 29, 34, 39, 44]

    accuracies = [point.value for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
    assert run.data.metrics["best.accuracy"] == max(accuracies)
    assert accuracies[int(run.data.metrics["best.epoch"])] == max(accuracies)
    assert "stage ['training', 'done']" in printed
    assert f"{accuracies[-1]:.3f}"[:4] in printed


def test_of_one_epoch_there_is_one_accuracy(workspace_folder: Path, run_example: Callable[..., str]) -> None:
    assert "'epoch': 0" in run_example("lightning_in_a_run.py", "--epochs", "1")
