"""Models of other frameworks, and a script: each example's endpoint predicts what the model itself does."""

import json
import re
from collections.abc import Callable

import pytest


@pytest.fixture
def expected() -> list[float]:
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    data, target = datasets.load_diabetes(return_X_y=True)
    return [float(value) for value in linear_model.Ridge(alpha=0.1).fit(data, target).predict(data[:2])]


@pytest.mark.needs("sklearn", "uvicorn")
def test_a_scoring_script(run_example: Callable[..., str], expected: list[float]) -> None:
    (answered,) = re.findall("Answered: (.*)", run_example("deploy_score_script.py"))
    rounded = [round(value, 2) for value in expected]
    assert eval(answered) == {"predicted": rounded, "mean": round(sum(expected) / 2, 2)}


@pytest.mark.needs("sklearn", "uvicorn", "onnxruntime", "skl2onnx")
def test_onnx(run_example: Callable[..., str], expected: list[float]) -> None:
    (predicted,) = re.findall("Predicted: (.*)", run_example("deploy_onnx.py"))
    numbers = [value for row in json.loads(predicted) for value in (row if isinstance(row, list) else [row])]
    assert numbers == pytest.approx(expected, rel=1e-4)


@pytest.mark.needs("uvicorn", "pytorch_lightning")
def test_lightning(run_example: Callable[..., str]) -> None:
    printed = run_example("deploy_lightning.py", "--epochs", "5")
    (digits,), (predicted,) = re.findall("Digits: (.*)", printed), re.findall("Predicted: (.*)", printed)
    assert sum(one == other for one, other in zip(json.loads(digits), json.loads(predicted), strict=True)) >= 8
