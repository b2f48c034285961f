"""`mlflow models serve` answers requests with a model of the workspace's registry."""

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

DATA = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def champion(client: MlflowClient) -> Any:
    """A model that is registered with the alias "champion"."""
    model = LinearRegression().fit(DATA, DATA @ [2, -1] + 3)
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name="line", pip_requirements=["scikit-learn"], input_example=DATA
        )
    client.set_registered_model_alias("line", "champion", "1")
    return model


def test_a_registered_model_answers_requests(champion: Any, start_mlflow: Callable[..., str]) -> None:
    url = start_mlflow("models", "serve", "-m", "models:/line@champion", "--env-manager", "local")
    answer = requests.post(f"{url}/invocations", json={"inputs": DATA.tolist()})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], champion.predict(DATA))
