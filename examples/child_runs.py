"""A sweep as one run with a child run for each depth of a tree, and below each a run for each fold.

    python examples/child_runs.py [--workspace DIR]

The children are created first, each with its depth as a tag, and worked through one by one, as a queue of jobs would.
Needs the extra `examples`.
"""

import argparse
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.tree import Tree
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from mlflow_amlstore.core import Experiment, Run, Workspace

EXPERIMENT = "diabetes-children"
DEPTHS = (1, 3, 5)
FOLDS = 3


def open_workspace(folder: Path) -> Workspace:
    """Open the workspace in `folder`; where there is none, make it and say so."""
    if not folder.exists():
        print(f"New workspace in {folder.resolve()}")
    return Workspace.create(folder)


def sweep(parent: Run) -> None:
    """Create a child run for each depth, then work through them."""
    for child in parent.create_children(tag_key="depth", tag_values=DEPTHS):
        with child:
            cross_validate(child, depth=int(child.get_tags()["depth"]))


def cross_validate(run: Run, depth: int) -> None:
    """Fit a tree on each fold, in a child run of its own, and log the mean error of all."""
    data, target = load_diabetes(return_X_y=True)
    errors = []
    for number, (train, test) in enumerate(KFold(FOLDS, shuffle=True, random_state=0).split(data)):
        with run.child_run(f"fold {number}") as fold:
            model = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(data[train], target[train])
            errors.append(mean_squared_error(target[test], model.predict(data[test])))
            fold.log("mse", errors[-1])
    run.log("mse", mean(errors))


def show(parent: Run) -> None:
    """Print the runs as the tree that they are, and the best of those that have a depth."""
    metrics = parent.get_metrics(recursive=True)
    tree = Tree(f"{parent.name}: {parent.get_status()}")
    for child in parent.get_children():
        branch = tree.add(
            f"depth {child.get_tags()['depth']}: {child.get_status()}, mse {metrics[child.id]['mse']:.0f}"
        )
        for fold in child.get_children():
            branch.add(f"{fold.name}: {fold.get_status()}, mse {metrics[fold.id]['mse']:.0f}")
    Console().print(tree, highlight=False)

    completed = list(parent.get_children(recursive=True, status="Completed"))
    with_depth = list(parent.get_children(recursive=True, tags="depth"))
    best = min(with_depth, key=lambda run: metrics[run.id]["mse"])
    print(f"{len(completed)} descendants completed, {len(with_depth)} have a depth")
    print(f"Best: depth {best.get_tags()['depth']}, run {best.id}, a child of {best.parent.name}")


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    arguments = parser.parse_args()

    experiment = Experiment(open_workspace(arguments.workspace), EXPERIMENT)
    with experiment.start_logging("sweep", snapshot_directory=None) as parent:
        sweep(parent)
    show(parent)
    print(f"Workspace: {arguments.workspace.resolve()}")


if __name__ == "__main__":
    main()
