"""What `microsoft.py` times, in a process of its own with MLflow and one plugin: prints its figures as JSON.

python microsoft_calls.py first | metric CALLS | files FOLDER | up FILE | down RUN_ID NAME FOLDER
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

START = time.perf_counter()

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402


def first() -> dict[str, float]:
    client = MlflowClient()
    client.create_run("0")
    return {"s": time.perf_counter() - START}


def metric(calls: str) -> dict[str, float]:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    times = []
    for step in range(int(calls) + 20):
        began = time.perf_counter()
        client.log_metric(run_id, "loss", 0.1, step=step)
        times.append(time.perf_counter() - began)
    return {"ms": statistics.median(times[20:]) * 1000}


def files(folder: str) -> dict[str, float]:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 0.1)
    began = time.perf_counter()
    client.log_artifacts(run_id, folder, "many")
    passed = time.perf_counter() - began
    assert len(client.list_artifacts(run_id, "many")) == len(list(Path(folder).iterdir()))
    return {"s": passed}


def up(file: str) -> dict[str, object]:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    began = time.perf_counter()
    client.log_artifact(run_id, file)
    return {"s": time.perf_counter() - began, "MiB": peak_mib(), "run_id": run_id}


def down(run_id: str, name: str, folder: str) -> dict[str, float]:
    MlflowClient().get_run(run_id)
    began = time.perf_counter()
    found = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, dst_path=folder)
    passed = time.perf_counter() - began
    assert Path(found).stat().st_size > 0
    return {"s": passed, "MiB": peak_mib()}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    print(json.dumps({"first": first, "metric": metric, "files": files, "up": up, "down": down}[task](*arguments)))
