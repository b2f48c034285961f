"""The flow of Azure ML's notebooks: a run for each try, logged line by line, then the best run's model registered.

    python examples/notebook_run.py [--workspace DIR]

Fits ridge regressions on scikit-learn's diabetes data. `run.log` keeps param and error, `run.upload_file` the model.
Needs the extra `examples`.
"""

import argparse
import math
import tempfile
from pathlib import Path

import joblib
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from mlflow_amlstore.core import Experiment, Model, Run, Workspace

EXPERIMENT = "diabetes-notebook"
MODEL = "diabetes_ridge"
MODEL_FILE = "outputs/model.pkl"
ALPHAS = (0.01, 0.1, 0.5, 1.0)


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def train(experiment: Experiment, scratch: Path) -> None:
    """Fit and log a model for each alpha, in a run of its own."""
    data, target = load_diabetes(return_X_y=True)
    train_data, test_data, train_target, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    for alpha in ALPHAS:
        run = experiment.start_logging(snapshot_directory=Path(__file__).parent)
        run.log("alpha", alpha)
        model = Ridge(alpha=alpha).fit(train_data, train_target)
        run.log("mse", mean_squared_error(test_target, model.predict(test_data)))
        joblib.dump(model, scratch / "model.pkl")
        run.upload_file(MODEL_FILE, scratch / "model.pkl")
        run.complete()


def find_best(experiment: Experiment) -> Run:
    """Print the experiment's runs, and return the one with the lowest error."""
    metrics = {run: run.get_metrics() for run in experiment.get_runs()}
    best = min(metrics, key=lambda run: metrics[run]["mse"])
    table = Table("run", "status", "alpha", "mse", "files", title=f"Runs of {experiment.name}")
    for run, logged in metrics.items():
        files = ", ".join(run.get_file_names())
        style = "bold" if run == best else None
        table.add_row(run.name, run.get_status(), str(logged["alpha"]), f"{logged['mse']:.2f}", files, style=style)
    Console().print(table)
    return best


def register(run: Run) -> Model:
    """Register the run's model file as the next version of the model."""
    return run.register_model(MODEL, MODEL_FILE, tags={"alpha": str(run.get_metrics()["alpha"])})


def check(model: Model, run: Run, scratch: Path) -> float:
    """Download the model's file and return its error on the test data, which must be the one that was logged."""
    data, target = load_diabetes(return_X_y=True)
    _, test_data, _, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    downloaded = joblib.load(model.download(scratch / "downloaded"))
    error = float(mean_squared_error(test_target, downloaded.predict(test_data)))
    logged = run.get_metrics("mse")["mse"]
    if not math.isclose(error, logged):
        raise SystemExit(f"the downloaded model's error is {error}, the run has {logged}")
    return error


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    experiment = Experiment(open_workspace(arguments.workspace), EXPERIMENT)
    with tempfile.TemporaryDirectory() as scratch:
        train(experiment, Path(scratch))
        best = find_best(experiment)
        model = register(best)
        error = check(model, best, Path(scratch))
    print(best)
    print(f"Registered {model.id} of it: {model.tags}, its mse when downloaded {error:.2f}")
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
