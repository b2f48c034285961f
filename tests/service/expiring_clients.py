"""Clients whose tracking URI lives 3 seconds, for `test_expiry`: a process for each, forked from one that has imported
MLflow, since that alone takes longer than the URI lives.

`python expiring_clients.py FOLDER` forks them. Each writes NAME.out and NAME.err there, and waits for its NAME.uri.
"""

import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store

# Loaded by entry point when they are first needed.
import mlflow_amlstore.plugin.remote_artifacts
import mlflow_amlstore.plugin.remote_registry
import mlflow_amlstore.plugin.remote_tracking  # noqa: F401


def uri_for(folder: Path, name: str) -> str:
    file = folder / f"{name}.uri"
    while not file.exists():
        time.sleep(0.02)
    return file.read_text()


def new_run() -> str:
    return str(MlflowClient().create_run("0").info.run_id)


def log_for(seconds: float, run_id: str, metric: str = "m") -> int:
    """Log a point ten times a second; return how many."""
    client, until, count = MlflowClient(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        client.log_metric(run_id, metric, count, step=count)
        count += 1
        time.sleep(0.1)
    return count


def logs_on(folder: Path) -> list[Any]:
    run_id = new_run()
    return [run_id, log_for(10, run_id)]


def idles(folder: Path) -> list[Any]:
    run_id = new_run()
    time.sleep(7)
    MlflowClient().log_metric(run_id, "m", 0)
    return [run_id, 1]


def has_many_threads(folder: Path) -> list[Any]:
    run_id = new_run()
    threads = [threading.Thread(target=log_for, args=(7, run_id, f"m{number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [run_id, 0]


def comes_late_with_a_key(folder: Path) -> list[Any]:
    return [len(MlflowClient().search_registered_models())]


def comes_late(folder: Path) -> list[Any]:
    began = time.monotonic()
    try:
        with mlflow.start_run():
            return ["started"]
    except MlflowException as error:
        return [error.error_code, error.message, time.monotonic() - began]


def is_revoked(folder: Path) -> list[Any]:
    try:
        return [log_for(15, new_run())]
    except MlflowException as error:
        return [error.error_code, error.message]


def gets_a_new_uri(folder: Path) -> list[Any]:
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 0)
        store = _get_store()
        mlflow.set_tracking_uri(uri_for(folder, "gets_a_new_uri.second"))
        active = mlflow.active_run()
        mlflow.log_metric("m", 1, step=1)
        is_one = _get_store() is store and active is not None and active.info.run_id == run.info.run_id
        return [run.info.run_id, 2 if is_one else -1]


def forks(folder: Path) -> list[Any]:
    """The parent ends at once, so that nobody but the child is left to renew."""
    run_id = new_run()
    if os.fork():
        os._exit(0)
    return [run_id, log_for(7, run_id)]


def spawned(handed_over: Any) -> None:
    handed_over.send("ready")
    pickled, run_id = handed_over.recv()
    store = pickle.loads(pickled)
    time.sleep(5)
    store.set_tag(run_id, RunTag("spawned", "yes"))


def spawns(folder: Path) -> list[Any]:
    run_id = new_run()
    ours, childs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=spawned, args=(childs,))
    child.start()
    ours.recv()
    ours.send((pickle.dumps(_get_store()), run_id))
    child.join()
    return [run_id, 0 if child.exitcode == 0 else -1]


CHILD = """
import os, time
from mlflow_amlstore.client.connection import connection_of
connection = connection_of(os.environ["MLFLOW_TRACKING_URI"])
for _ in range(50):
    connection.request("GET", connection.mlflow_path + "/api/2.0/mlflow/runs/get", params={"run_id": os.environ["RUN"]})
    time.sleep(0.1)
"""


def hands_its_environment_on(folder: Path) -> list[Any]:
    os.environ["MLFLOW_TRACKING_URI"] = given = mlflow.get_tracking_uri()
    run_id = new_run()
    log_for(4, run_id)
    inherited = os.environ["MLFLOW_TRACKING_URI"]
    while os.environ["MLFLOW_TRACKING_URI"] == inherited:
        time.sleep(0.01)  # a child takes its time to start, so it gets one that is quite fresh
    child = subprocess.run([sys.executable, "-c", CHILD], env={**os.environ, "RUN": run_id}, check=False)
    return [run_id, 0 if child.returncode == 0 and inherited != given else -1]


def keeps_files(folder: Path) -> list[Any]:
    run_id, client = new_run(), MlflowClient()
    for number in range(6):
        client.log_text(run_id, "x" * 100, f"{number}.txt")
        assert Path(client.download_artifacts(run_id, f"{number}.txt")).read_text() == "x" * 100
        time.sleep(1)
    client.create_registered_model("net")
    version = client.create_model_version("net", f"{client.get_run(run_id).info.artifact_uri}/0.txt", run_id)
    assert version.source.endswith(f"/runs/{run_id}/artifacts/0.txt")
    return [run_id, 0]


CLIENTS = {
    client.__name__: client
    for client in (
        logs_on, idles, has_many_threads, comes_late_with_a_key, comes_late, is_revoked, gets_a_new_uri, forks, spawns,
        hands_its_environment_on, keeps_files,
    )
}  # fmt: skip


def live(folder: Path, name: str) -> None:
    """Be one client: print what it returns, as JSON, or how it failed."""
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}.{stream}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), number)
    key = folder / f"{name}.key"
    if key.exists():
        os.environ["AMLSTORE_KEY"] = key.read_text()
    try:
        mlflow.set_tracking_uri(uri_for(folder, name))
        print(json.dumps(CLIENTS[name](folder)), flush=True)
    except BaseException:
        traceback.print_exc()
        print("failed", flush=True)
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    for client in CLIENTS:
        if os.fork() == 0:
            live(Path(sys.argv[1]), client)
    print("ready", flush=True)
    for _ in CLIENTS:
        os.wait()
