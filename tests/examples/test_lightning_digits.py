from collections.abc import Callable

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.needs("torch", "pytorch_lightning")


def test_the_logger_makes_a_run_or_joins_one(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient]
) -> None:
    run_example("lightning_digits.py", "--epochs", "2")

    client = open_client()
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id], order_by=["start_time ASC"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    made, joined = runs
    for run in runs:
        assert run.data.params["hidden"] == "64"
        assert 0.5 < run.data.metrics["val_accuracy"] <= 1
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")]
        assert steps == [4, 9, 14, 19, 24, 29, 34, 39, 44]

    assert joined.info.run_name == "attached"
    assert joined.data.params["started_by"] == "mlflow.start_run"
    assert client.list_artifacts(joined.info.run_id) == []

    folders = [entry.path for entry in client.list_artifacts(made.info.run_id)]
    assert folders == ["epoch=0-step=23", "epoch=1-step=46", "last"]
    for folder in folders:
        files = {entry.path: entry.file_size for entry in client.list_artifacts(made.info.run_id, folder)}
        assert sorted(files) == [f"{folder}/{name}" for name in ("aliases.txt", f"{folder}.ckpt", "metadata.yaml")]
        assert files[f"{folder}/{folder}.ckpt"] > 10_000
