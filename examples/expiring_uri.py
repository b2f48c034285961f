"""Log for longer than a tracking URI is valid, from two processes, and see that nothing is lost.

    python examples/expiring_uri.py [--workspace DIR] [--lifetime 3] [--seconds 15]

The service's tracking URIs live three seconds here, instead of an hour. One process was started by the user who started
the service and finds its key. The other has nothing but the URI, as a container on another machine would, and renews it
with the service while it is still valid. Needs the extra `service`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import mlflow

from mlflow_amlstore.core import Workspace

EXPERIMENT = "expiring"
PAUSE_S = 0.1


@contextmanager
def serve(folder: Path, log: Path, lifetime_s: float) -> Iterator[dict[str, str]]:
    """Serve the workspace in `folder`, made if there is none; give what the service tells of itself."""
    command = [Path(sys.executable).with_name("amlstore"), "serve", folder, "--port", "0"]
    command += ["--token-lifetime", str(lifetime_s)]
    with (
        log.open("w") as log_file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, text=True) as service,
    ):
        assert service.stdout is not None
        try:
            yield dict(line.rstrip("\n").split(": ", 1) for line in islice(service.stdout, 3))
        finally:
            service.terminate()


def log_for(seconds: float, name: str) -> None:
    """Log a point every now and then, to the workspace that MLflow is pointed at."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=name):
        began = time.monotonic()
        step = 0
        while time.monotonic() - began < seconds:
            mlflow.log_metric("seconds", time.monotonic() - began, step=step)
            step += 1
            time.sleep(PAUSE_S)
        mlflow.log_param("points", step)


def start_child(seconds: float, empty_home: Path) -> subprocess.Popen[str]:
    """Start a process that finds neither keys nor services of this user, and waits for a tracking URI."""
    environment = {**os.environ, "XDG_STATE_HOME": str(empty_home), "XDG_CONFIG_HOME": str(empty_home)}
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    return child


def show_points() -> bool:
    """Print how many points each run logged, and how many arrived; return whether these are the same."""
    client = mlflow.MlflowClient()
    are_same = True
    latest = mlflow.search_runs(experiment_names=[EXPERIMENT], max_results=2, output_format="list")
    for run in sorted(latest, key=lambda run: run.info.run_name):
        logged = int(run.data.params["points"])
        arrived = len(client.get_metric_history(run.info.run_id, "seconds"))
        print(f"{run.info.run_name}: {logged} points logged, {arrived} arrived, {run.info.status}")
        are_same = are_same and logged == arrived
    return are_same


def renewals_in(log: Path) -> int:
    """How often the service issued a token for a tracking URI."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return sum(line.get("path") == "/auth/tracking-token" and line["status"] == 200 for line in lines)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("amlstore-workspace"), metavar="DIR")
    parser.add_argument("--lifetime", type=float, default=3, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # the process with nothing but the URI
    arguments = parser.parse_args()
    if arguments.child:
        print("ready", flush=True)  # Python and MLflow may take as long to load as a URI is valid here
        mlflow.set_tracking_uri(input())
        log_for(arguments.seconds, "has nothing but the URI")
        return

    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "log")
        with serve(arguments.workspace, log, arguments.lifetime) as service:
            print(f"A tracking URI of {service['Service']} is valid for {arguments.lifetime:g} s")
            child = start_child(arguments.seconds, Path(scratch, "nothing-here"))
            uri = Workspace.from_url(service["Service"]).get_mlflow_tracking_uri()
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(EXPERIMENT)  # first: where two processes make one at once, MLflow makes one forget it
            print(uri, file=child.stdin, flush=True)
            log_for(arguments.seconds, "finds the key")
            if child.wait():
                raise SystemExit("the child process failed")
            are_same = show_points()
        print(f"Tracking URIs were issued and renewed {renewals_in(log)} times")
    if not are_same:
        raise SystemExit("points were lost")
    print(f"Stopped the service; its workspace stays in {service['Workspace']}")


if __name__ == "__main__":
    main()
