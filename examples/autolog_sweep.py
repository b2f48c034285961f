"""Sweep a grid with scikit-learn autologging: one parent run, a child run per grid point, the best found by search.

    python examples/autolog_sweep.py [--workspace DIR]

Needs the extra `examples`.
"""

import argparse
from pathlib import Path

import mlflow
from mlflow.entities import Run
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import ParameterGrid, train_test_split

from mlflow_amlstore.core import Workspace

EXPERIMENT = "diabetes-sweep"
GRID = {"learning_rate": [0.02, 0.1, 0.5], "max_depth": [1, 3]}


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def sweep() -> str:
    """Fit a model at every grid point, each in a child run; return the parent run's id."""
    data, target = load_diabetes(return_X_y=True)
    train_data, test_data, train_target, test_target = train_test_split(data, target, test_size=0.25, random_state=0)
    with mlflow.start_run(run_name="sweep") as parent:
        for point in ParameterGrid(GRID):
            with mlflow.start_run(nested=True):
                model = GradientBoostingRegressor(n_estimators=50, random_state=0, **point)
                model.fit(train_data, train_target)  # autologging adds all params and the metrics of training
                mlflow.log_metric("test_mse", mean_squared_error(test_target, model.predict(test_data)))
    return str(parent.info.run_id)


def find_best(parent_id: str) -> list[Run]:
    """Return the three child runs with the lowest test error, the best first."""
    return mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parent_id}' and attributes.status = 'FINISHED'",
        order_by=["metrics.test_mse ASC"],
        max_results=3,
        output_format="list",
    )


def show(parent_id: str, best: list[Run], folder: Path) -> None:
    """Print the best runs, and the folder they are in."""
    table = Table("child run", *GRID, "training mse", "test mse", title=f"Best of run {parent_id}")
    for run in best:
        metrics = run.data.metrics
        errors = [f"{metrics['training_mean_squared_error']:.0f}", f"{metrics['test_mse']:.0f}"]
        table.add_row(run.info.run_name, *(run.data.params[name] for name in GRID), *errors)
    console = Console()
    console.print(table)
    console.print(f"Workspace: {folder.resolve()}", soft_wrap=True, highlight=False)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    workspace = open_workspace(arguments.workspace)
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    mlflow.set_experiment(EXPERIMENT)
    mlflow.sklearn.autolog(log_models=False)

    parent_id = sweep()
    show(parent_id, find_best(parent_id), arguments.workspace)


if __name__ == "__main__":
    main()
