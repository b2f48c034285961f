"""Train a ridge regression on scikit-learn's diabetes data, track it in a workspace, and read back what was recorded.

    python examples/track_diabetes.py [--workspace DIR] [--alpha 0.1]

The workspace is a folder, made on the first run; every further run is added to it. Needs the extra
`examples`: `pip install '.[examples]'` in the clone.
"""

import argparse
import math
import pickle
import tempfile
from pathlib import Path

import mlflow
import sklearn
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import infer_signature
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from mlflow_amlstore.core import Workspace

EXPERIMENT = "diabetes"
MODEL = "diabetes_model"
ALIAS = "champion"
# `log_model` calls the model's place in the run `name` since MLflow 3, `artifact_path` before.
NAME = "name" if int(mlflow.__version__.split(".")[0]) >= 3 else "artifact_path"


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def train(alpha: float) -> str:
    """Train and log one model; return its run's id."""
    data, target = load_diabetes(return_X_y=True)
    train_data, test_data, train_target, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        mlflow.log_param("alpha", alpha)
        model = Ridge(alpha=alpha).fit(train_data, train_target)
        predicted = model.predict(test_data)
        mlflow.log_metric("mse", mean_squared_error(test_target, predicted))

        pickled = Path(scratch) / "model.pkl"
        pickled.write_bytes(pickle.dumps(model))
        mlflow.log_artifact(str(pickled), "outputs")

        mlflow.sklearn.log_model(
            model,
            **{NAME: "model"},
            signature=infer_signature(test_data, predicted),
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
            registered_model_name=MODEL,
        )
    return str(run.info.run_id)


def promote(run_id: str) -> ModelVersion:
    """Point the alias at the model version that the run made, and return that version."""
    client = mlflow.MlflowClient()
    (version,) = client.search_model_versions(f"name = '{MODEL}' and run_id = '{run_id}'")
    client.set_registered_model_alias(MODEL, ALIAS, version.version)
    return client.get_model_version_by_alias(MODEL, ALIAS)


def check(run: Run) -> float:
    """Load the model back by its alias and return its error on the test data, which must be the one that was logged."""
    data, target = load_diabetes(return_X_y=True)
    _, test_data, _, test_target = train_test_split(data, target, test_size=0.2, random_state=0)
    loaded = mlflow.sklearn.load_model(f"models:/{MODEL}@{ALIAS}")
    error = float(mean_squared_error(test_target, loaded.predict(test_data)))
    if not math.isclose(error, run.data.metrics["mse"]):
        raise SystemExit(f"the loaded model's error is {error}, the run has {run.data.metrics['mse']}")
    return error


def list_files(artifact_uri: str) -> list[tuple[str, int]]:
    """Return path and size of every file under the URI."""
    files = []
    for entry in mlflow.artifacts.list_artifacts(artifact_uri=artifact_uri):
        name = entry.path.rsplit("/", 1)[-1]
        files += list_files(f"{artifact_uri}/{name}") if entry.is_dir else [(entry.path, entry.file_size)]
    return files


def show(run: Run, version: ModelVersion, error: float, folder: Path) -> None:
    """Print what was recorded, and where."""
    table = Table("recorded", "name", "value", title=f"Run {run.info.run_id} of {EXPERIMENT}")
    for name, value in run.data.params.items():
        table.add_row("param", name, value)
    for name, value in run.data.metrics.items():
        table.add_row("metric", name, f"{value:.2f}")
    for path, size_bytes in list_files(f"runs:/{run.info.run_id}/outputs"):
        table.add_row("file", path, decimal(size_bytes))
    table.add_row("model", f"{MODEL}@{ALIAS}", f"version {version.version}")
    for path, size_bytes in list_files(f"models:/{MODEL}/{version.version}"):
        table.add_row("model file", path, decimal(size_bytes))
    table.add_row("loaded back", "mse", f"{error:.2f}")
    console = Console()
    console.print(table)
    console.print(f"Workspace: {folder.resolve()}", soft_wrap=True, highlight=False)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--alpha", type=float, default=0.1)
    arguments = parser.parse_args()

    workspace = open_workspace(arguments.workspace)
    mlflow.set_tracking_uri(workspace.get_mlflow_tracking_uri())
    mlflow.set_experiment(EXPERIMENT)

    run_id = train(arguments.alpha)
    version = promote(run_id)
    run = mlflow.get_run(run_id)
    show(run, version, check(run), arguments.workspace)


if __name__ == "__main__":
    main()
