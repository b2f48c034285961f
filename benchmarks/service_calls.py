"""Tasks of MLflow's client, for `service.py`: each is run in a process of its own, and returns what it took."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WARM_CALLS = 50
READS = 3


def log_metric(seconds: str) -> float:
    """The median of `mlflow.log_metric` in an active run, in milliseconds."""
    import mlflow

    times = []
    with mlflow.start_run():
        for step in range(WARM_CALLS):
            mlflow.log_metric("loss", 0.5, step=step)
        end = time.perf_counter() + float(seconds)
        while (began := time.perf_counter()) < end:
            mlflow.log_metric("loss", 0.5, step=WARM_CALLS + len(times))
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def search_runs(experiment_id: str, expected: str) -> float:
    """The median of one page of runs, in seconds."""
    from mlflow import MlflowClient

    client = MlflowClient()
    return timed(lambda: client.search_runs([experiment_id], max_results=int(expected)), int(expected))


def history(run_id: str, expected: str) -> float:
    """The median of a long history, in seconds."""
    from mlflow import MlflowClient

    client = MlflowClient()
    return timed(lambda: client.get_metric_history(run_id, "loss"), int(expected))


def timed(read: Callable[[], Any], expected: int) -> float:
    times = []
    for _ in range(1 + READS):
        began = time.perf_counter()
        found = len(read())
        times.append(time.perf_counter() - began)
        if found != expected:
            raise RuntimeError(f"{found} were read, not {expected}")
    return statistics.median(times[1:])  # the first one connects and imports


def upload(source: str) -> dict[str, Any]:
    import mlflow

    with mlflow.start_run() as run:
        began = time.perf_counter()
        mlflow.log_artifact(source)
        seconds = time.perf_counter() - began
    return {"run_id": run.info.run_id, "seconds": seconds, "peak_mib": peak_mib()}


def download(run_id: str, path: str, target: str) -> dict[str, Any]:
    import mlflow

    began = time.perf_counter()
    mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=target)
    return {"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The most memory that this process ever held; most of it is MLflow's own modules."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task for task in (log_metric, search_runs, history, upload, download)
}


def run(environment: Mapping[str, str], task: str, arguments: Sequence[object], sender: Connection) -> None:
    """Run one task, with an environment that says which server, and send what it returned and why it failed."""
    os.environ.clear()
    os.environ.update(environment)
    try:
        sender.send((TASKS[task](*map(str, arguments)), None))
    except Exception as error:
        sender.send((None, f"{type(error).__name__}: {error}"))
