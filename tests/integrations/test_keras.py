"""`mlflow.keras.autolog()`: optimizer, a metric of each epoch, the data and the model. PyTorch computes."""

from collections.abc import Iterator

import keras
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(-1, 1)


@pytest.fixture(autouse=True)
def _autologging() -> Iterator[None]:
    mlflow.keras.autolog()
    yield
    mlflow.keras.autolog(disable=True)


def test_a_fit_leaves_params_histories_and_a_model_that_predicts_the_same(client: MlflowClient) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    with mlflow.start_run() as started:
        fitted = model.fit(X, 2 * X, batch_size=8, epochs=3, validation_data=(X, 2 * X), verbose=0)

    run = client.get_run(started.info.run_id)
    assert run.info.status == "FINISHED"
    optimizer = {f"optimizer_{name}": str(value) for name, value in model.optimizer.get_config().items()}
    assert {"epochs": "3", "batch_size": "8", **optimizer}.items() <= run.data.params.items()
    for metric in ("loss", "mae", "val_loss", "val_mae"):
        points = client.get_metric_history(run.info.run_id, metric)
        assert [(point.step, point.value) for point in points] == list(enumerate(fitted.history[metric]))
    assert "Dense" in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/model_summary.txt")

    (logged,) = mlflow.search_logged_models(output_format="list")
    assert logged.source_run_id == run.info.run_id
    loaded = mlflow.keras.load_model(logged.model_uri)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)
