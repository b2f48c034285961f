"""The notebook in which submitted runs are watched: executed as a person does, with each cell's widget in it."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Experiment, Workspace

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDGET = "application/vnd.jupyter.widget-view+json"

pytestmark = pytest.mark.needs("anywidget", "ipykernel", "nbclient", "sklearn")


def _states(notebook: Any) -> list[dict[str, Any]]:
    """What the notebook keeps of its widgets when it is saved, those that show a run."""
    widgets = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    return [each["state"] for each in widgets.values() if "head" in each["state"]]


def test_watch_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    shutil.copytree(EXAMPLES / "submitted", tmp_path / "submitted")
    notebook = nbformat.read(EXAMPLES / "watch_runs.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [WIDGET in output.get("data", {}) for output in shown] == [True, False, True]
    (alpha, mse) = re.fullmatch(r"Best: alpha (\S+), mse (\d+)\n", shown[1].text).groups()
    workspace = Workspace.create(tmp_path / "amlstore-workspace")
    [sweep] = Experiment(workspace, "diabetes-watched").get_runs()
    metrics = {child.id: child.get_metrics() for child in sweep.get_children()}
    best_id = min(metrics, key=lambda run_id: metrics[run_id]["mse"])
    assert (float(alpha), mse) == (metrics[best_id]["alpha"], f"{metrics[best_id]['mse']:.0f}")
    assert {child.get_status() for child in sweep.get_children()} == {"Completed"}
    assert {state["head"]["run_id"] for state in _states(notebook)} == {sweep.id, best_id}
    workspace.close()
