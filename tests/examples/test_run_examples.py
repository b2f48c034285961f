"""The examples of `Run`, on a folder and on a service; what they left is read from the records and by MLflow."""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from workspace_folder import folder_of_workspace

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.records.types import MetricKind

pytestmark = pytest.mark.needs("sklearn", "matplotlib")


def mlflow_over(folder: Path) -> MlflowClient:
    return MlflowClient(f"amlstore://{folder}", f"amlstore://{folder}")


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    """An experiment's runs, the first started first."""
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time ASC"])


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_notebook_run(workspace_folder: Path, run_example: Callable[..., str], tmp_path: Path) -> None:
    printed = run_example("notebook_run.py")

    client = mlflow_over(workspace_folder)
    runs = runs_of(client, "diabetes-notebook")
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert [run.data.metrics["alpha"] for run in runs] == [0.01, 0.1, 0.5, 1.0]
    for run in runs:
        (file,) = client.list_artifacts(run.info.run_id, "outputs")
        assert file.path == "outputs/model.pkl"
        assert f"{run.data.metrics['mse']:.2f}" in printed

    best = min(runs, key=lambda run: run.data.metrics["mse"])
    version = client.get_model_version("diabetes_ridge", "1")
    assert (version.run_id, version.tags) == (best.info.run_id, {"alpha": "0.5"})
    assert "Registered diabetes_ridge:1 of it: {'alpha': '0.5'}" in printed
    assert f"when downloaded {best.data.metrics['mse']:.2f}" in printed

    snapshot = (
        Workspace.from_tracking_uri(f"amlstore://{workspace_folder}")
        .get_run(best.info.run_id)
        .restore_snapshot(path=tmp_path)
    )
    assert "notebook_run.py" in zipfile.ZipFile(snapshot).namelist()


@pytest.fixture(scope="module", params=["embedded", "served"])
def every_metric(
    request: pytest.FixtureRequest, run_example_in: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """The workspace's folder, and what the example printed, which is run once on each kind of workspace."""
    folder = tmp_path_factory.mktemp("every_metric")
    with folder_of_workspace(request.param, folder) as workspace_folder:
        yield workspace_folder, run_example_in(folder, "every_metric.py")


def test_every_metric(every_metric: tuple[Path, str]) -> None:
    workspace_folder, printed = every_metric
    client = mlflow_over(workspace_folder)
    (run,) = runs_of(client, "every-metric")
    records = Workspace.from_tracking_uri(f"amlstore://{workspace_folder}").records
    metrics = {metric.name: metric for metric in records.metrics.list_metrics(run.info.run_id)}
    assert {metric.kind for metric in metrics.values()} == set(MetricKind)
    kept = {name: metric.columns for name, metric in metrics.items() if "" not in metric.columns}
    assert kept == {
        "row": {"train": [0.8], "test": [0.2], "note": ["shuffled"]},
        "rows": {"angle": [0, 90, 180, 270], "sine": [0.0, 1.0, 0.0, -1.0]},
        "table": {"x": [1, 2, 3], "y": [0.1, 0.2, 0.3]},
    }
    values = {name: metrics[name].columns[""] for name in ("number", "boolean", "string", "vector", "list")}
    assert values == {
        "number": [0.5],
        "boolean": [True],
        "string": ["warm-up"],
        "vector": [0.5, 0.25, 0.125],
        "list": [0, 1, 4, 9, 16],
    }

    assert run.info.status == "FINISHED"
    assert run.data.metrics == {
        "number": 0.5,
        "boolean": 1,
        "vector": 0.125,
        "list": 16,
        "row.train": 0.8,
        "row.test": 0.2,
        "rows.angle": 270,
        "rows.sine": -1,
        "table.x": 3,
        "table.y": 0.3,
    }
    assert history(client, run, "vector") == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert history(client, run, "rows.angle") == [(0, 0), (1, 90), (2, 180), (3, 270)]
    for name in [*kept, *values]:
        assert name in printed


def test_every_metric_that_is_a_file(every_metric: tuple[Path, str], tmp_path: Path) -> None:
    workspace_folder, printed = every_metric
    client = mlflow_over(workspace_folder)
    (run,) = runs_of(client, "every-metric")
    files = {file.path.rpartition("_")[0]: file.path for file in client.list_artifacts(run.info.run_id)}
    assert sorted(files) == ["accuracy table", "confusion matrix", "image", "predictions", "residuals"]

    def content(name: str) -> bytes:
        return Path(client.download_artifacts(run.info.run_id, files[name], str(tmp_path))).read_bytes()

    assert content("image").startswith(b"\x89PNG")
    confusion, accuracy, residuals, predictions = (
        json.loads(content(name))["data"] for name in ("confusion matrix", "accuracy table", "residuals", "predictions")
    )
    assert [sum(row) for row in confusion["matrix"]] == [50, 50, 50]  # of each iris
    assert [table[0] for table in accuracy["probability_tables"]] == [[50, 100, 0, 0]] * 3  # all are "it" from 0 on
    assert sum(residuals["bin_counts"]) == sum(predictions["bin_counts"]) == 442  # patients
    assert printed.count("│ file, ") == len(files)


def test_child_runs(workspace_folder: Path, run_example: Callable[..., str]) -> None:
    printed = run_example("child_runs.py")

    client = mlflow_over(workspace_folder)
    runs = runs_of(client, "diabetes-children")
    assert [run.info.status for run in runs] == ["FINISHED"] * 13

    def children_of(parent: Run | None) -> list[Run]:
        parent_id = parent and parent.info.run_id
        return [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent_id]

    (sweep,) = children_of(None)
    children = sorted(children_of(sweep), key=lambda child: child.data.tags["depth"])
    assert (sweep.info.run_name, [child.data.tags["depth"] for child in children]) == ("sweep", ["1", "3", "5"])
    for child in children:
        folds = children_of(child)
        assert [fold.info.run_name for fold in folds] == ["fold 0", "fold 1", "fold 2"]
        mean = sum(fold.data.metrics["mse"] for fold in folds) / 3
        assert child.data.metrics["mse"] == pytest.approx(mean)
        assert f"depth {child.data.tags['depth']}: Completed, mse {mean:.0f}" in printed

    best = min(children, key=lambda child: child.data.metrics["mse"])
    assert "12 descendants completed, 3 have a depth" in printed
    assert f"Best: depth {best.data.tags['depth']}, run {best.info.run_id}, a child of sweep" in printed
