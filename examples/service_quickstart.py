"""Start a workspace service, log into it from two processes, read back what they logged, and stop it.

    python examples/service_quickstart.py [--workspace DIR]

The processes get the tracking URI in MLFLOW_TRACKING_URI, and know nothing else of the service.
Needs the extra `service`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import mlflow
from rich.console import Console
from rich.table import Table

EXPERIMENT = "quickstart"
RATES = (0.02, 0.1)
STEPS = 100


@contextmanager
def serve(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the workspace in `folder`, made if there is none; give what the service tells of itself."""
    command = [Path(sys.executable).with_name("amlstore"), "serve", folder, "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            yield dict(line.rstrip("\n").split(": ", 1) for line in islice(service.stdout, 3))
        finally:
            service.terminate()


def train(rate: float) -> None:
    """What a process does: log a loss that falls at a rate, into the workspace that MLFLOW_TRACKING_URI names."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=f"rate {rate}"):
        mlflow.log_param("rate", rate)
        for step in range(STEPS):
            mlflow.log_metric("loss", (1 - rate) ** step, step=step)
        mlflow.log_text(f"Trained in process {os.getpid()}.", "note.txt")


def show(service_url: str) -> None:
    """Print the runs that the service has."""
    client = mlflow.MlflowClient()
    table = Table("run", "status", "loss", "points", "note", title=f"Runs of {EXPERIMENT} at {service_url}")
    for run in mlflow.search_runs(experiment_names=[EXPERIMENT], max_results=len(RATES), output_format="list"):
        points = client.get_metric_history(run.info.run_id, "loss")
        note = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt")
        loss = f"{run.data.metrics['loss']:.4f}"
        table.add_row(run.info.run_name, run.info.status, loss, str(len(points)), note)
    Console().print(table)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)  # of the processes that this one starts
    arguments = parser.parse_args()
    if arguments.rate is not None:
        train(arguments.rate)
        return

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with serve(arguments.workspace) as service:
        mlflow.set_tracking_uri(service["Tracking URI"])
        mlflow.set_experiment(EXPERIMENT)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": service["Tracking URI"]}
        command = [sys.executable, __file__, "--rate"]
        trainings = [
            subprocess.Popen([*command, str(rate)], env=environment, stdout=subprocess.DEVNULL) for rate in RATES
        ]
        if any(training.wait() for training in trainings):
            raise SystemExit("a training failed")
        show(service["Service"])
    print(f"Stopped the service; its workspace stays in {service['Workspace']}")


if __name__ == "__main__":
    main()
