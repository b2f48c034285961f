"""The documents' sweep: a script with its helper, submitted once for each alpha; the best one's model is registered."""

import re
from pathlib import Path

import pytest
from fork_server import run_forked

from mlflow_amlstore.core import Experiment, Workspace
from mlflow_amlstore.core.model import Model

EXAMPLE = Path(__file__).parents[2] / "examples" / "submit_sweep.py"

pytestmark = pytest.mark.needs("sklearn")


def test_submit_sweep(tmp_path: Path) -> None:
    done = run_forked([EXAMPLE, "--workspace", tmp_path / "ws"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (where,) = re.findall(r"^RunId: (\S+)$", done.stdout.partition("Streaming")[0], re.MULTILINE)
    (alpha, mse, best_id) = re.search(r"^Best: alpha (\S+), mse (\d+), run (\S+)$", done.stdout, re.MULTILINE).groups()

    ws = Workspace.create(tmp_path / "ws")
    runs = {run.id: run for run in Experiment(ws, "diabetes-submitted").get_runs()}
    metrics = {run_id: run.get_metrics() for run_id, run in runs.items()}
    assert sorted(values["alpha"] for values in metrics.values()) == [0.1, 0.5, 1.0]
    assert {run.get_status() for run in runs.values()} == {"Completed"}
    assert best_id == min(metrics, key=lambda run_id: metrics[run_id]["mse"])
    assert (alpha, mse) == (runs[best_id].get_tags()["alpha"], f"{metrics[best_id]['mse']:.0f}")
    line = f"alpha is {metrics[where]['alpha']:.2f}, and mse is {metrics[where]['mse']:.2f}"
    assert f"Streaming user_logs/std_log.txt\n{'=' * 31}\n\n{line}\n" in done.stdout
    model = Model(ws, "diabetes_submitted")
    assert (model.version, model.run_id) == (1, best_id)
    assert f"outputs/ridge_{float(alpha):.2f}.pkl" in done.stdout
    ws.close()
