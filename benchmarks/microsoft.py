"""This package beside Microsoft's azureml-mlflow, against the same service over TLS, in one run.

    python benchmarks/microsoft.py [--quick] [--envs DIR] [--rounds 3] [--size-mb 1000]

Each client is in an environment of its own, with the same mlflow-skinny: the newest that azureml-mlflow allows. They
are made in DIR where they aren't there. Every figure is the median of rounds in which the two take turns; one process
each, so that no store, token or connection is shared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mlflow_amlstore.pytest_plugin import AmlstoreService

CALLS = Path(__file__).with_name("microsoft_calls.py")
PROJECT = Path(__file__).parents[1]
OURS, THEIRS, BARE = "mlflow-amlstore", "azureml-mlflow", "mlflow-skinny"
WHOLE = "mlflow"  # as most have it; it brings what our embedded workspaces need
METRIC_CALLS = 500
SMALL_FILES = 500


def environment_of(name: str, envs: Path) -> Path:
    """The Python of an environment with one client, made where it isn't there."""
    python = envs / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", envs / name], check=True)
        base, _, plugin = name.partition(" with ")
        packages = {OURS: [str(PROJECT)], THEIRS: [THEIRS], "": []}[plugin]
        wanted = [f"{base}==3.15.0", *packages]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    elif name.endswith(OURS):  # as the source is now
        again = ["--quiet", "--force-reinstall", "--no-deps", str(PROJECT)]
        subprocess.run([python, "-m", "pip", "install", *again], check=True)
    return python


def installed_mib(python: Path) -> float:
    """What is installed, without pip itself and compiled caches."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    tops = [top for top in packages.iterdir() if not top.name.startswith(("pip", "setuptools", "_distutils"))]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc") / 1024**2


class Client:
    """One client and how it reaches the service."""

    def __init__(self, python: Path, service: AmlstoreService, home: Path) -> None:
        self.python, self.service, self.home = python, service, home
        home.mkdir()

    def run(self, task: str, *arguments: object) -> dict[str, Any]:
        root = self.service.tracking_uri.partition("?")[0]
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = {
            **kept,
            "HOME": str(self.home),
            "MLFLOW_TRACKING_URI": root,
            "MLFLOW_TRACKING_TOKEN": self.service.token,
            "MLFLOW_RUN_ID": "given",
            "MLFLOW_EXPERIMENT_ID": "0",
            "REQUESTS_CA_BUNDLE": str(self.service.ca),
            "ARM_CLOUD_METADATA_URL": f"{self.service.url}/metadata/endpoints?api-version=2019-05-01",
            "AZUREML_CURRENT_CLOUD": "AmlStore",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        command = [str(self.python), str(CALLS), task, *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:].replace(self.service.token, "TOKEN"))
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "amlstore-benchmark-envs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="the same table in two minutes: one round, a smaller file")
    options = parser.parse_args()
    if options.quick:
        parser.set_defaults(rounds=1, size_mb=200)  # what else is given holds
        options = parser.parse_args()
    pythons = {name: environment_of(f"{BARE} with {name}", options.envs) for name in (OURS, THEIRS)}
    bare = environment_of(BARE, options.envs)
    figures: dict[str, dict[str, list[float]]] = {}

    def note(what: str, name: str, value: float) -> None:
        figures.setdefault(what, {OURS: [], THEIRS: []})[name].append(value)

    with tempfile.TemporaryDirectory() as folder, AmlstoreService(Path(folder), "--tls", "self-signed") as service:
        place = Path(folder)
        many, large = place / "many", place / "large.bin"
        many.mkdir()
        for number in range(SMALL_FILES):
            (many / f"{number}.txt").write_bytes(os.urandom(2048))
        with large.open("wb") as opened:
            for _ in range(options.size_mb):
                opened.write(os.urandom(1_000_000))
        clients = {name: Client(pythons[name], service, place / f"home-{name}") for name in (OURS, THEIRS)}
        for number in range(options.rounds):
            order = list(clients.items())[:: -1 if number % 2 else 1]
            for name, client in order:
                began = time.perf_counter()
                client.run("first")
                note("first call of a fresh process, s", name, time.perf_counter() - began)
            for name, client in order:
                note("log_metric, median, ms", name, client.run("metric", METRIC_CALLS)["ms"])
            for name, client in order:
                note(f"{SMALL_FILES} small files, s", name, client.run("files", many)["s"])
            for name, client in order:
                sent = client.run("up", large)
                target = place / f"down-{name}-{number}"
                target.mkdir()
                got = client.run("down", sent["run_id"], large.name, target)
                (target / large.name).unlink()
                megabytes = options.size_mb
                note(f"{megabytes} MB up, s", name, sent["s"])
                note(f"{megabytes} MB up, peak MiB", name, sent["MiB"])
                note(f"{megabytes} MB down, s", name, got["s"])
                note(f"{megabytes} MB down, peak MiB", name, got["MiB"])
    for base in (BARE, WHOLE):
        without = installed_mib(environment_of(base, options.envs))
        for name in (OURS, THEIRS):
            size = installed_mib(environment_of(f"{base} with {name}", options.envs))
            note(f"size added to {base}, MiB", name, size - without)
    print_table(figures)
    alone_s = bare_import_s(bare, options.rounds)
    print(f"\n`import mlflow` alone, without a plugin: {alone_s:.3g} s, which are in the first call above")


def bare_import_s(python: Path, rounds: int) -> float:
    """How long a process takes that imports MLflow and makes nothing of it."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([python, "-c", "from mlflow import MlflowClient"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def print_table(figures: dict[str, dict[str, list[float]]]) -> None:
    print(f"| what | {OURS} | {THEIRS} | ratio |\n|---|---|---|---|")
    for what, of_client in figures.items():
        ours, theirs = (statistics.median(of_client[name]) for name in (OURS, THEIRS))
        print(f"| {what} | {ours:.3g} | {theirs:.3g} | {theirs / ours:.2f}× |")


if __name__ == "__main__":
    main()
