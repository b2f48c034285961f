"""`mlflow.sklearn.autolog()`: each `fit` is a run, with params, metrics, the model and the data it saw."""

from collections.abc import Iterator

import mlflow
import numpy as np
import pytest
import sklearn.metrics
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV


@pytest.fixture(autouse=True)
def _autologging() -> Iterator[None]:
    mlflow.sklearn.autolog(max_tuning_runs=2)
    yield
    mlflow.sklearn.autolog(disable=True)


def test_a_fit_leaves_params_metrics_and_a_model_that_predicts_the_same(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True)
    with mlflow.start_run() as started:
        model = Ridge(alpha=0.5).fit(data, target)
        error = sklearn.metrics.mean_squared_error(target, model.predict(data))  # autologging logs it, too

    run = client.get_run(started.info.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in model.get_params().items()}
    assert run.data.metrics["training_mean_squared_error"] == pytest.approx(error)
    assert run.data.metrics["mean_squared_error_data"] == error
    assert run.data.tags["estimator_name"] == "Ridge"
    contexts = [tag.value for used in run.inputs.dataset_inputs for tag in used.tags]
    assert sorted(contexts) == ["eval", "train"]  # what it was fitted to, and what it predicted

    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.source_run_id == run.info.run_id
    loaded = mlflow.sklearn.load_model(logged.model_uri)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


def test_a_grid_search_is_a_run_with_child_runs_for_the_best_points(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True)
    with mlflow.start_run() as started:
        search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=3).fit(data, target)

    parent = client.get_run(started.info.run_id)
    assert parent.data.params["best_alpha"] == str(search.best_params_["alpha"])
    assert parent.data.metrics["best_cv_score"] == search.best_score_
    children = mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        order_by=["metrics.mean_test_score DESC"],
        output_format="list",
    )
    scores = sorted(search.cv_results_["mean_test_score"], reverse=True)
    assert [child.data.metrics["mean_test_score"] for child in children] == scores[:2]
    assert children[0].data.params["alpha"] == parent.data.params["best_alpha"]

    assert "cv_results.csv" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    best = mlflow.sklearn.load_model(f"runs:/{parent.info.run_id}/best_estimator")
    np.testing.assert_array_equal(best.predict(data), search.predict(data))


def test_a_fit_that_fails_leaves_a_failed_run(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        Ridge().fit(data, target[:-1])
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FAILED"  # its params, which another thread logs, may come later
