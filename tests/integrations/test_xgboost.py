"""`mlflow.xgboost.autolog()`: params, a metric of each round, what the features weigh, and the model."""

from collections.abc import Iterator

import mlflow
import numpy as np
import pytest
import xgboost
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes

ROUNDS = 7


@pytest.fixture(autouse=True)
def _autologging() -> Iterator[None]:
    mlflow.xgboost.autolog()
    yield
    mlflow.xgboost.autolog(disable=True)


def test_training_leaves_each_rounds_metric_importances_and_a_model(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True, as_frame=True)
    matrix = xgboost.DMatrix(data, target)
    evaluated: dict[str, dict[str, list[float]]] = {}
    params = {"max_depth": 2, "eta": 0.3, "nthread": 1}
    with mlflow.start_run() as started:
        booster = xgboost.train(
            params, matrix, ROUNDS, evals=[(matrix, "train")], evals_result=evaluated, verbose_eval=False
        )

    run = client.get_run(started.info.run_id)
    assert run.info.status == "FINISHED"
    assert {"max_depth": "2", "eta": "0.3", "num_boost_round": str(ROUNDS)}.items() <= run.data.params.items()
    points = client.get_metric_history(run.info.run_id, "train-rmse")
    assert [(point.step, point.value) for point in points] == list(enumerate(evaluated["train"]["rmse"]))
    weights = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/feature_importance_weight.json")
    assert weights == booster.get_score(importance_type="weight")
    assert mlflow.artifacts.load_image(f"runs:/{run.info.run_id}/feature_importance_weight.png").format == "PNG"

    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.source_run_id == run.info.run_id
    loaded = mlflow.xgboost.load_model(logged.model_uri)
    np.testing.assert_array_equal(loaded.predict(matrix), booster.predict(matrix))


def test_an_estimator_in_scikit_learns_style_leaves_the_same(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True)
    model = xgboost.XGBRegressor(n_estimators=ROUNDS, max_depth=2, n_jobs=1)
    with mlflow.start_run() as started:
        model.fit(data, target, eval_set=[(data, target)], verbose=False)

    run = client.get_run(started.info.run_id)
    assert {"max_depth": "2", "num_boost_round": str(ROUNDS)}.items() <= run.data.params.items()
    points = client.get_metric_history(run.info.run_id, "validation_0-rmse")
    evaluated = model.evals_result()["validation_0"]["rmse"]
    assert [(point.step, point.value) for point in points] == list(enumerate(evaluated))

    (logged,) = mlflow.search_logged_models(output_format="list")
    loaded = mlflow.xgboost.load_model(logged.model_uri)
    assert isinstance(loaded, xgboost.XGBRegressor)
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))
