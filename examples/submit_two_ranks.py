"""One script as two processes that train together: PyTorch's all-reduce between them, and a log of each.

    python examples/submit_two_ranks.py [--workspace DIR]

The script is submitted/ranks.py beside this file. Needs the extra `lightning`, for its PyTorch; runs on the CPU.
"""

import argparse
from pathlib import Path

from mlflow_amlstore.core import Experiment, Run, ScriptRunConfig, Workspace
from mlflow_amlstore.core.run_configuration import PyTorchConfiguration

EXPERIMENT = "line-by-two-ranks"
SOURCE = Path(__file__).parent / "submitted"


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def show(run: Run) -> None:
    """Print each rank's log as the run keeps it, and what was logged."""
    for path, text in sorted(run.get_details_with_logs()["logFiles"].items()):
        if path.startswith("user_logs/std_log_process_"):
            print(path)
            print("".join(f"    {line}\n" for line in text.splitlines()), end="")
    losses = run.get_metrics()["loss"]
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps, run {run.id}")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    experiment = Experiment(open_workspace(arguments.workspace), EXPERIMENT)
    config = ScriptRunConfig(SOURCE, script="ranks.py", distributed_job_config=PyTorchConfiguration(process_count=2))
    run = experiment.submit(config)
    run.wait_for_completion()
    show(run)
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
