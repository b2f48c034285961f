"""Attach Lightning's MLFlowLogger to the run that a script was submitted as, which `Run.get_context()` finds.

    python examples/lightning_in_a_run.py [--workspace DIR] [--epochs 3]

`submit` plays the submitter: it starts a run and this script in it, as a process whose environment names run and
workspace. `train` is what a submitted script has in it. The network is the one of `lightning_digits.py`.
Needs the extras `examples` and `lightning`; runs on the CPU.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mlflow_amlstore.core import Experiment, Run, Workspace

EXPERIMENT = "digits-submitted"


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def submit(experiment: Experiment, epochs: int) -> Run:
    """Start a run, and this script in it; its exit code becomes the run's status."""
    run = experiment.start_logging("lightning", snapshot_directory=Path(__file__).parent)
    environment = {
        **os.environ,
        "AZUREML_RUN_ID": run.id,
        "MLFLOW_RUN_ID": run.id,
        "MLFLOW_TRACKING_URI": experiment.workspace.get_mlflow_tracking_uri(),
    }
    script = subprocess.run([sys.executable, __file__, "--train", "--epochs", str(epochs)], env=environment)
    if script.returncode:
        run.fail(f"the script ended with {script.returncode}")
    else:
        run.complete()
    return run


def train(epochs: int) -> None:
    """Train in the run that this process was submitted as: the logger and the script's own calls log into it."""
    from lightning_digits import fit
    from pytorch_lightning import seed_everything
    from pytorch_lightning.loggers import MLFlowLogger

    seed_everything(0)
    run = Run.get_context(allow_offline=False)
    run.log("stage", "training")
    fit(MLFlowLogger(run.experiment.name, run_id=run.id), epochs)  # at MLFLOW_TRACKING_URI, its default
    run.log("stage", "done")
    accuracies = np.atleast_1d(run.get_metrics()["val_accuracy"])  # the logger's; of one epoch it is a number
    run.log_row("best", epoch=accuracies.argmax(), accuracy=accuracies.max())


def show(run: Run) -> None:
    """Print what the run has of the script and of the logger."""
    print(run)
    metrics = run.get_metrics()
    print(f"Logged by the script: stage {metrics['stage']}, best {metrics['best']}")
    print(f"Logged by the logger: params {run.get_details()['params']}")
    print(f"    val_accuracy {np.atleast_1d(metrics['val_accuracy']).round(3)}")
    print(f"    train_loss   {np.size(metrics['train_loss'])} points")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)  # the submitted script
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.epochs)
        return

    run = submit(Experiment(open_workspace(arguments.workspace), EXPERIMENT), arguments.epochs)
    show(run)
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
