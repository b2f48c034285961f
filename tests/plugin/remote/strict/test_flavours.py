"""Every flavour's `log_model`, in a workspace with the endpoints of MLflow 3's logged models and in one without.

What isn't installed is skipped.
"""

from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient

from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = (X[:, 0] > 20).astype(np.int64)


def sklearn() -> tuple[Any, Any, Callable[[Any], Any]]:
    linear = pytest.importorskip("sklearn.linear_model")
    return mlflow.sklearn, linear.LogisticRegression().fit(X, Y), lambda model: model.predict(X)


def xgboost() -> tuple[Any, Any, Callable[[Any], Any]]:
    xgb = pytest.importorskip("xgboost")
    model = xgb.train({"max_depth": 2}, xgb.DMatrix(X, Y), 3)
    return mlflow.xgboost, model, lambda model: model.predict(xgb.DMatrix(X))


def lightgbm() -> tuple[Any, Any, Callable[[Any], Any]]:
    lgb = pytest.importorskip("lightgbm")
    model = lgb.train({"verbose": -1, "min_data_in_leaf": 1}, lgb.Dataset(X, Y), 3)
    return mlflow.lightgbm, model, lambda model: model.predict(X)


def pytorch() -> tuple[Any, Any, Callable[[Any], Any]]:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    return mlflow.pytorch, torch.nn.Linear(2, 1), lambda model: model(torch.from_numpy(X)).detach().numpy()


class Doubled(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return np.asarray(model_input) * 2


def pyfunc() -> tuple[Any, Any, Callable[[Any], Any]]:
    return mlflow.pyfunc, Doubled(), lambda model: model.predict(X)


_MODEL_ARGUMENT = {  # what each flavour calls the model, in MLflow 2 as in 3
    "sklearn": "sk_model",
    "xgboost": "xgb_model",
    "lightgbm": "lgb_model",
    "pytorch": "pytorch_model",
    "pyfunc": "python_model",
}
FLAVOURS = [sklearn, xgboost, lightgbm, pytorch, pyfunc]


@pytest.fixture(scope="module", params=["2.0", "3.0"])
def leveled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    """A workspace of either API level, with Azure ML's limits."""
    options = ("--api-level", request.param, "--limits", "azure")
    with ForkedService(tmp_path_factory.mktemp("leveled"), *options) as running:
        yield running


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.__name__)
def test_a_model_is_logged_found_registered_and_loaded(
    leveled: ForkedService, flavour: Callable[[], tuple[Any, Any, Callable[[Any], Any]]]
) -> None:
    module, model, predict = flavour()
    name = f"model-{flavour.__name__}"
    with mlflow_pointed_at(leveled.tracking_uri):
        client = MlflowClient()
        mlflow.set_experiment(f"of {name}")
        with mlflow.start_run() as run:
            mlflow.log_metric("acc", 0.5)
            # MLflow would look for what the model needs in a process that loads it anew.
            given = {_MODEL_ARGUMENT[flavour.__name__]: model, "pip_requirements": []}
            if flavour is pytorch:
                given["input_example"] = X  # which the newest MLflow wants
            info = module.log_model(**given, artifact_path="model", registered_model_name=name)
        registered = mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
        uris = [info.model_uri, f"runs:/{run.info.run_id}/model", f"models:/{name}/1", f"models:/{name}/2"]
        loaded = [module.load_model(uri) for uri in uris]
        assert registered.version in (2, "2")
        assert client.get_model_version(name, "1").run_id == run.info.run_id
        for found in loaded:
            np.testing.assert_allclose(predict(found), predict(model if module is not mlflow.pyfunc else loaded[0]))
        np.testing.assert_allclose(mlflow.pyfunc.load_model(info.model_uri).predict(X).squeeze().shape[0], 20)
        if hasattr(mlflow, "search_logged_models"):
            (logged,) = mlflow.search_logged_models(output_format="list")
            assert (logged.name, str(logged.status), logged.source_run_id) == ("model", "READY", run.info.run_id)
            assert [(metric.key, metric.value) for metric in logged.metrics] == [("acc", 0.5)]
