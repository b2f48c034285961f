"""Lightning in a submitted script: its own MLFlowLogger logs values and checkpoints into the run that was submitted.

    python examples/submit_lightning.py [--workspace DIR] [--epochs 3]

The script is submitted/digits.py beside this file. Needs the extras `examples` and `lightning`; runs on the CPU.
"""

import argparse
from pathlib import Path

import numpy as np

from mlflow_amlstore.core import Experiment, Run, ScriptRunConfig, Workspace

EXPERIMENT = "digits-by-lightning"
SOURCE = Path(__file__).parent / "submitted"


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def show(run: Run) -> None:
    """Print what Lightning's logger left in the run."""
    metrics = run.get_metrics()
    print(f"{run.id}: {run.get_status()}, params {run.get_details()['params']}")
    print(f"    val_accuracy  {np.atleast_1d(metrics['val_accuracy']).round(3)}")
    print(f"    train_loss    {np.size(metrics['train_loss'])} points")
    for path in run.get_file_names():
        if path.endswith(".ckpt"):
            print(f"    checkpoint    {path}")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()

    experiment = Experiment(open_workspace(arguments.workspace), EXPERIMENT)
    config = ScriptRunConfig(SOURCE, script="digits.py", arguments=["--epochs", arguments.epochs])
    run = experiment.submit(config)
    run.wait_for_completion(show_output=True)
    show(run)
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
