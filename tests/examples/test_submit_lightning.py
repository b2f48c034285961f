"""Lightning in a submitted script: values and checkpoints are in the submitted run, and there is no other."""

import re
from pathlib import Path

import pytest
from fork_server import run_forked

from mlflow_amlstore.core import Experiment, Workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "submit_lightning.py"

pytestmark = pytest.mark.needs("sklearn", "torch", "pytorch_lightning")


def test_submit_lightning(tmp_path: Path) -> None:
    done = run_forked([EXAMPLE, "--workspace", tmp_path / "ws", "--epochs", "2"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    ws = Workspace.create(tmp_path / "ws")
    assert {name for name, experiment in ws.experiments.items() if list(experiment.get_runs())} == {
        "digits-by-lightning"
    }
    (run,) = Experiment(ws, "digits-by-lightning").get_runs()
    assert run.get_status() == "Completed"
    assert run.get_details()["params"] == {"hidden": "64"}
    metrics = run.get_metrics()
    assert len(metrics["train_loss"]) == 9  # every fifth of 46 steps
    accuracies = [f"{accuracy:.3f}" for accuracy in metrics["val_accuracy"]]
    assert len(accuracies) == 2
    checkpoints = [path for path in run.get_file_names() if path.endswith(".ckpt")]
    assert checkpoints == ["epoch=0-step=23/epoch=0-step=23.ckpt", "epoch=1-step=46/epoch=1-step=46.ckpt"]
    ws.close()

    # What the script printed is shown while it runs, and what the logger left after it.
    streamed, _, shown = done.stdout.partition("Execution Summary")
    assert f"\nval_accuracy is {accuracies[-1]} after 2 epochs\n" in streamed
    assert f"\n{run.id}: Completed, params {{'hidden': '64'}}\n" in shown
    (printed,) = re.findall(r"^    val_accuracy  \[(.*)\]$", shown, re.MULTILINE)
    assert [f"{float(accuracy):.3f}" for accuracy in printed.split()] == accuracies
    assert "    train_loss    9 points\n" in shown
    assert re.findall(r"^    checkpoint    (.*)$", shown, re.MULTILINE) == checkpoints
