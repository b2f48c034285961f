"""`mlflow.lightgbm.autolog()`: params, a metric of each round, what the features weigh, and the model."""

from collections.abc import Iterator

import lightgbm
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes

ROUNDS = 7


@pytest.fixture(autouse=True)
def _autologging() -> Iterator[None]:
    mlflow.lightgbm.autolog()
    yield
    mlflow.lightgbm.autolog(disable=True)


def test_training_leaves_each_rounds_metric_importances_and_a_model(client: MlflowClient) -> None:
    data, target = load_diabetes(return_X_y=True, as_frame=True)
    dataset = lightgbm.Dataset(data, target)
    evaluated: dict[str, dict[str, list[float]]] = {}
    params = {"objective": "regression", "metric": "l2", "num_leaves": 4, "num_threads": 1, "verbose": -1}
    with mlflow.start_run() as started:
        booster = lightgbm.train(
            params,
            dataset,
            ROUNDS,
            valid_sets=[dataset],
            valid_names=["train"],
            callbacks=[lightgbm.record_evaluation(evaluated)],
        )

    run = client.get_run(started.info.run_id)
    assert run.info.status == "FINISHED"
    assert {"num_leaves": "4", "num_boost_round": str(ROUNDS)}.items() <= run.data.params.items()
    points = client.get_metric_history(run.info.run_id, "train-l2")
    assert [(point.step, point.value) for point in points] == list(enumerate(evaluated["train"]["l2"]))
    splits = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/feature_importance_split.json")
    assert splits == dict(zip(data.columns, booster.feature_importance("split"), strict=True))
    assert mlflow.artifacts.load_image(f"runs:/{run.info.run_id}/feature_importance_split.png").format == "PNG"

    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.source_run_id == run.info.run_id
    loaded = mlflow.lightgbm.load_model(logged.model_uri)
    np.testing.assert_array_equal(loaded.predict(data), booster.predict(data))
