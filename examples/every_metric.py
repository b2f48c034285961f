"""Every kind of metric that a run takes, in one run, read back by `Run` and by MLflow side by side.

    python examples/every_metric.py [--workspace DIR]

The charts are those of two small models: a classifier of scikit-learn's irises, and a regression on its diabetes data.
Needs the extras `examples` and `plot`.
"""

import argparse
from pathlib import Path

import mlflow
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_predict

from mlflow_amlstore.core import Experiment, Run, Workspace

EXPERIMENT = "every-metric"
THRESHOLDS = np.linspace(0, 1, 5)
BINS = 6


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def log_values(run: Run) -> None:
    """Log what is one value, several values, or columns of them."""
    run.log("number", np.float32(0.5))  # NumPy's and pandas' scalars, too
    run.log("boolean", True)
    run.log("string", "warm-up")
    for loss in (0.5, 0.25, 0.125):
        run.log("vector", loss)
    run.log_list("list", (n * n for n in range(5)))
    run.log_row("row", train=0.8, test=0.2, note="shuffled")
    for angle in range(0, 360, 90):
        run.log_row("rows", angle=angle, sine=np.sin(np.radians(angle)).round(3))
    run.log_table("table", {"x": [1, 2, 3], "y": [0.1, 0.2, 0.3]})


def log_image(run: Run) -> None:
    """Log a figure of matplotlib's; `plot=plt` logs the current one."""
    figure = Figure()
    figure.add_subplot().plot([0.5, 0.25, 0.125])
    run.log_image("image", plot=figure)


def log_classifier(run: Run) -> None:
    """Log the charts of a classifier: its confusion matrix, and how many it gets right at each threshold."""
    data, target, names = (load_iris()[key] for key in ("data", "target", "target_names"))
    scores = cross_val_predict(LogisticRegression(max_iter=1000), data, target, method="predict_proba")
    run.log_confusion_matrix(
        "confusion matrix",
        {
            "schema_type": "confusion_matrix",
            "schema_version": "1.0.0",
            "data": {"class_labels": names, "matrix": confusion_matrix(target, scores.argmax(axis=1))},
        },
    )
    classes = [(target == number, scores[:, number]) for number in range(len(names))]
    run.log_accuracy_table(
        "accuracy table",
        {
            "schema_type": "accuracy_table",
            "schema_version": "1.0.1",
            "data": {
                "class_labels": names,
                "probability_thresholds": THRESHOLDS,
                "probability_tables": [counts_at(THRESHOLDS, *of_class) for of_class in classes],
                "percentile_thresholds": THRESHOLDS,
                "percentile_tables": [
                    counts_at(np.quantile(score, THRESHOLDS), is_it, score) for is_it, score in classes
                ],
            },
        },
    )


def counts_at(thresholds: np.ndarray, is_it: np.ndarray, scores: np.ndarray) -> list[list[int]]:
    """Return, for each threshold, the true and false positives and the true and false negatives."""
    counts = []
    for threshold in thresholds:
        said = scores >= threshold
        cells = (said & is_it, said & ~is_it, ~said & ~is_it, ~said & is_it)
        counts.append([int(cell.sum()) for cell in cells])
    return counts


def log_regression(run: Run) -> None:
    """Log the charts of a regression: its residuals, and what it predicts beside what is true, in bins."""
    data, target = load_diabetes(return_X_y=True)
    predicted = cross_val_predict(Ridge(alpha=0.1), data, target)
    counts, edges = np.histogram(predicted - target, bins=BINS)
    run.log_residuals(
        "residuals",
        {
            "schema_type": "residuals",
            "schema_version": "1.0.0",
            "data": {"bin_edges": edges, "bin_counts": counts},
        },
    )
    counts, edges = np.histogram(target, bins=BINS)
    in_bins = [predicted[np.digitize(target, edges[1:-1]) == number] for number in range(BINS)]
    run.log_predictions(
        "predictions",
        {
            "schema_type": "predictions",
            "schema_version": "1.0.0",
            "data": {
                "bin_edges": edges,
                "bin_counts": counts,
                "bin_averages": [found.mean() for found in in_bins],
                "bin_errors": [found.std() for found in in_bins],
            },
        },
    )


def show(run: Run) -> None:
    """Print the metrics as the run has them beside what MLflow has: metrics and their histories, or files."""
    client = mlflow.MlflowClient()
    latest = mlflow.get_run(run.id).data.metrics
    files = {file.path: decimal(file.file_size) for file in client.list_artifacts(run.id)}
    table = Table("logged", "run.get_metrics()", "data.metrics", "get_metric_history", title=f"Run {run.id}")
    for name, value in run.get_metrics().items():
        for column, part in value.items() if isinstance(value, dict) else [("", value)]:
            key = f"{name}.{column}" if column else name
            file = str(part).rpartition("/")[2]
            if key in latest:
                history = [point.value for point in client.get_metric_history(run.id, key)]
                table.add_row(key, str(part), str(latest[key]), str(history))
            elif file in files:
                table.add_row(key, "aml://…", "", f"file, {files[file]}")
            else:
                table.add_row(key, str(part))
    Console().print(table)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    workspace = open_workspace(arguments.workspace)
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    with Experiment(workspace, EXPERIMENT).start_logging(snapshot_directory=None) as run:
        log_values(run)
        log_image(run)
        log_classifier(run)
        log_regression(run)
    show(run)
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
