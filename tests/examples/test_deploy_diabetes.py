"""The documents' way from training to answers: what the example prints, and that nothing is left running."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import wait_for

from mlflow_amlstore.core import Model, Workspace
from mlflow_amlstore.hosting.endpoint_folder import EndpointFolder

pytestmark = pytest.mark.needs("sklearn", "uvicorn")


def test_it_answers_and_cleans_up(run_example: Callable[..., str], tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    printed = run_example("deploy_diabetes.py")
    data, target = load_diabetes(return_X_y=True)
    (predicted,) = re.findall(r"^Predicted: (.*)$", printed, re.MULTILINE)
    assert json.loads(predicted) == pytest.approx(list(Ridge(alpha=0.1).fit(data, target).predict(data[:2])))
    assert 'Succeeded\nACI service creation operation finished, operation "Succeeded"\n' in printed
    assert "diabetes-service is Healthy at http://127.0.0.1:" in printed
    assert printed.endswith("Webservices left: []\n")
    ws = Workspace.from_config(tmp_path / "amlstore-workspace")
    assert Model(ws, "diabetes_model").model_framework == "ScikitLearn"
    wait_for(lambda: not EndpointFolder.of(str(ws.path), "diabetes-service").is_looked_after())
