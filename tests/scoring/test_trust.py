"""Loading a model runs no code that is in it, unless the deployment says that it may."""

import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

import skops.io
from scoring_processes import save
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlflow_amlstore.errors import ModelNotLoaded
from mlflow_amlstore.scoring import trusted

DATA, KINDS = load_iris(return_X_y=True)
RIDGE = Ridge().fit(DATA, KINDS)


class Marks:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_before_it_runs(serve: Any, tmp_path: Path) -> None:
    folder = tmp_path / "served-0"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(Marks(tmp_path / "ran")))
    event = serve(model="model.pkl").failed()
    assert event["code"] == "PickleNotAllowed"
    assert "--allow-pickle" in event["message"]
    assert not (tmp_path / "ran").exists()


def test_a_pickle_that_is_allowed_is_loaded(serve: Any) -> None:
    scorer = serve(RIDGE, model="model.pkl", allow_pickle=True).healthy()
    assert scorer.score({"data": DATA[:2].tolist()}).json == RIDGE.predict(DATA[:2]).tolist()


class Foreign(BaseEstimator):
    """A class that isn't scikit-learn's."""

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))


@pytest.mark.parametrize("named", [False, True])
def test_skops_types_are_trusted_by_our_list_and_never_by_the_models_own(tmp_path: Path, named: bool) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(Foreign(), path)
    if named:
        text = "flavors: {sklearn: {pickled_model: model.skops, skops_trusted_types: [test_trust.Foreign]}}"
        (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelNotLoaded, match=r"aren't known to be harmless: .*Foreign"):
        trusted.load(path, allow_pickle=False)


def test_a_function_in_a_pipeline_isnt_trusted(tmp_path: Path) -> None:
    import os

    skops.io.dump(make_pipeline(FunctionTransformer(os.system), RIDGE), tmp_path / "model.skops")
    with pytest.raises(ModelNotLoaded, match="system"):
        trusted.load(tmp_path / "model.skops", allow_pickle=False)


@pytest.mark.parametrize("kind", ["DecisionTreeClassifier", "HistGradientBoostingClassifier", "KNeighborsClassifier"])
def test_common_models_whose_types_skops_doesnt_know_are_loaded(tmp_path: Path, kind: str) -> None:
    model = _fitted(kind)
    skops.io.dump(model, tmp_path / "model.skops")
    loaded = trusted.load(tmp_path / "model.skops", allow_pickle=False)
    assert loaded.predict(DATA).tolist() == model.predict(DATA).tolist()


@pytest.mark.parametrize(("place", "value"), [("left_child", 10_000_000), ("right_child", 0), ("feature", 1_000_000)])
def test_a_tree_whose_nodes_point_outside_of_it_is_refused(tmp_path: Path, place: str, value: int) -> None:
    model = _fitted("DecisionTreeClassifier")
    state = model.tree_.__getstate__()
    state["nodes"][place][0] = value
    model.tree_.__setstate__(state)
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(ModelNotLoaded, match="point outside"):
        trusted.load(tmp_path / "model.skops", allow_pickle=False)


def _fitted(kind: str) -> Any:
    import sklearn.ensemble
    import sklearn.neighbors
    import sklearn.tree

    modules = (sklearn.tree, sklearn.ensemble, sklearn.neighbors)
    options = {"algorithm": "kd_tree"} if kind.startswith("KN") else {}
    return next(getattr(module, kind) for module in modules if hasattr(module, kind))(**options).fit(DATA, KINDS)


def test_any_model_of_mlflows_needs_to_be_allowed(serve: Any, tmp_path: Path) -> None:
    import mlflow.pyfunc

    class Doubles(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input * 2

    for number in range(2):
        mlflow.pyfunc.save_model(tmp_path / f"served-{number}" / "model", python_model=Doubles())
    assert serve(framework="MLflow", model="model").failed()["code"] == "PickleNotAllowed"
    scorer = serve(framework="MLflow", model="model", allow_pickle=True).healthy()
    split = {"columns": ["a", "b"], "data": [[1, 2.5], [3, 4.5]]}
    assert scorer.ask("/invocations", {"dataframe_split": split}).json == {
        "predictions": [{"a": 2, "b": 5.0}, {"a": 6, "b": 9.0}]
    }
    assert scorer.score({"input_data": [[1, 2]]}).json == [[2, 4]]


def test_another_version_of_a_package_is_said_before_loading(serve: Any) -> None:
    here = importlib.metadata.version("scikit-learn")
    scorer = serve(RIDGE, versions={"scikit-learn": "0.24.2", "numpy": importlib.metadata.version("numpy")}).healthy()
    names = [event["event"] for event in scorer.events]
    assert names == ["loading", "versions_differ", "loaded", "healthy"]
    said = scorer.events[1]
    assert (said["package"], said["trained_with"], said["here"]) == ("scikit-learn", "0.24.2", here)


def test_a_served_folder_is_never_left(serve: Any, tmp_path: Path) -> None:
    save(RIDGE, tmp_path / "elsewhere.skops")
    for path in ("../elsewhere.skops", str(tmp_path / "elsewhere.skops")):
        event = serve(model=path).failed()
        assert (event["code"], "below the served folder" in event["message"]) == ("DeploymentInvalid", True)
