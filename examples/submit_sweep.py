"""A sweep of submitted runs: a script with its helper module, once for each alpha, and the best one's model registered.

    python examples/submit_sweep.py [--workspace DIR]

The first run's output is shown while it comes; the others wait for no one. The script and its helper are in the folder
`submitted` beside this file, and neither knows of this package. Needs the extra `examples`.
"""

import argparse
from pathlib import Path

from mlflow_amlstore.core import Experiment, ScriptRunConfig, Workspace

EXPERIMENT = "diabetes-submitted"
SOURCE = Path(__file__).parent / "submitted"
ALPHAS = (0.1, 0.5, 1.0)


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    experiment = Experiment(open_workspace(arguments.workspace), EXPERIMENT)
    runs = []
    for alpha in ALPHAS:
        config = ScriptRunConfig(SOURCE, script="train.py", arguments=["--alpha", alpha])
        runs.append(experiment.submit(config, tags={"alpha": str(alpha)}))
    runs[0].wait_for_completion(show_output=True)
    for run in runs[1:]:
        run.wait_for_completion()

    best = min(runs, key=lambda run: run.get_metrics()["mse"])
    [model_file] = [name for name in best.get_file_names() if name.startswith("outputs/")]
    model = best.register_model("diabetes_submitted", model_path=model_file)
    print(f"Best: alpha {best.get_tags()['alpha']}, mse {best.get_metrics()['mse']:.0f}, run {best.id}")
    print(f"Registered {model.name} version {model.version} from {model_file}")
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
