"""`mlflow server` on the workspace: who logs over it writes the workspace's records and files."""

from collections.abc import Callable

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

DATA = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def url(client: MlflowClient, start_mlflow: Callable[..., str]) -> str:
    """A server of MLflow's, whose records and files are the workspace's."""
    workspace = mlflow.get_tracking_uri()
    options = ("--workers", "1", "--backend-store-uri", workspace, "--artifacts-destination", workspace)
    return start_mlflow("server", *options)


def test_what_is_logged_over_the_server_is_in_the_workspace(client: MlflowClient, url: str) -> None:
    model = LinearRegression().fit(DATA, DATA @ [2, -1] + 3)
    with mlflow_pointed_at(url):
        mlflow.set_experiment("over the server")
        with mlflow.start_run() as started:
            mlflow.log_params({"slope": 2})
            for step in range(3):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
            mlflow.log_text("Looks good.", "outputs/note.txt")
            mlflow.sklearn.log_model(
                model, name="model", registered_model_name="line", pip_requirements=["scikit-learn"]
            )
        through_the_server = mlflow.sklearn.load_model("models:/line/1")
    np.testing.assert_array_equal(through_the_server.predict(DATA), model.predict(DATA))
    assert "<title>MLflow</title>" in requests.get(url).text  # the UI, which asks the same API

    (run,) = client.search_runs([client.get_experiment_by_name("over the server").experiment_id])
    assert (run.info.run_id, run.info.status) == (started.info.run_id, "FINISHED")
    assert run.data.params == {"slope": "2"}
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 1 / 2), (2, 1 / 3)]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/outputs/note.txt") == "Looks good."
    assert client.get_model_version("line", "1").run_id == run.info.run_id
    loaded = mlflow.sklearn.load_model("models:/line/1")
    np.testing.assert_array_equal(loaded.predict(DATA), model.predict(DATA))
