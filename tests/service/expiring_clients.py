"""Clients whose tracking URI lives for seconds, for `test_expiry`: a process for each, forked from one that has MLflow
imported, since that alone may take longer.

`expiring_clients.py FOLDER` forks them. Each writes NAME.out and NAME.err there. All of them rehearse at once, with the
URI in `rehearsal.uri`, by which the test learns how long their first calls take. Then each waits for its NAME.uri, and
for `lifetime`, which says how many seconds that is valid.
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
from mlflow_amlstore.client.connection import connection_of


def wait_for(file: Path) -> str:
    """What a file says, as soon as it is there."""
    while not file.exists():
        time.sleep(0.02)
    return file.read_text()


def uri_for(folder: Path, name: str) -> str:
    return wait_for(folder / f"{name}.uri")


def lives(folder: Path, count: float) -> float:
    """So many lives of a tracking URI, in seconds."""
    return float(wait_for(folder / "lifetime")) * count


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
    return [run_id, log_for(lives(folder, 2.5), run_id)]


def idles(folder: Path) -> list[Any]:
    run_id = new_run()
    time.sleep(lives(folder, 1.7))
    MlflowClient().log_metric(run_id, "m", 0)
    return [run_id, 1]


def has_many_threads(folder: Path) -> list[Any]:
    began, run_id, seconds = time.monotonic(), new_run(), lives(folder, 2.8)  # three renewals and some time to spare
    threads = [threading.Thread(target=log_for, args=(seconds, run_id, f"m{number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [run_id, 0, time.monotonic() - began]


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
        return [log_for(lives(folder, 5), new_run())]
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
    return [run_id, log_for(lives(folder, 2.3), run_id)]


def spawned(handed_over: Any) -> None:
    handed_over.send("ready")
    pickled, run_id, seconds = handed_over.recv()
    store = pickle.loads(pickled)
    time.sleep(seconds)
    store.set_tag(run_id, RunTag("spawned", "yes"))


class Spawned:
    """A child with an interpreter of its own, which may need longer to start than a URI lives."""

    def __init__(self) -> None:
        self.handing_over, childs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=spawned, args=(childs,))
        self.process.start()
        self.handing_over.recv()


def spawns(folder: Path) -> list[Any]:
    run_id = new_run()
    (child,) = STARTED_BEFORE
    child.handing_over.send((pickle.dumps(_get_store()), run_id, lives(folder, 1.7)))
    child.process.join()
    return [run_id, 0 if child.process.exitcode == 0 else -1]


STARTED_BEFORE: list[Spawned] = []


CHILD = """
import os, sys, time
from mlflow_amlstore.client.connection import connection_of
connection = connection_of(os.environ["MLFLOW_TRACKING_URI"])
until = time.monotonic() + float(sys.argv[1])
while True:
    connection.request("GET", connection.mlflow_path + "/api/2.0/mlflow/runs/get", params={"run_id": os.environ["RUN"]})
    if time.monotonic() > until:
        break
    time.sleep(0.1)
"""


def run_child(environment: dict[str, str], seconds: float) -> int:
    """Run CHILD for so long in a fresh interpreter; return its exit code."""
    command = [sys.executable, "-c", CHILD, str(seconds)]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


def hands_its_environment_on(folder: Path) -> list[Any]:
    os.environ["MLFLOW_TRACKING_URI"] = given = mlflow.get_tracking_uri()
    run_id = new_run()
    log_for(lives(folder, 1), run_id)  # a renewal in the second of its issue gives the same token
    inherited = os.environ["MLFLOW_TRACKING_URI"]
    while os.environ["MLFLOW_TRACKING_URI"] == inherited:
        time.sleep(0.01)  # a child takes its time to start, so it gets one that is quite fresh
    code = run_child({"RUN": run_id}, lives(folder, 1.5))
    return [run_id, 0 if code == 0 and inherited != given else -1]


def keeps_files(folder: Path) -> list[Any]:
    run_id, client = new_run(), MlflowClient()
    for number in range(6):
        client.log_text(run_id, "x" * 100, f"{number}.txt")
        assert Path(client.download_artifacts(run_id, f"{number}.txt")).read_text() == "x" * 100
        time.sleep(lives(folder, 1 / 3))
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


def rehearse(folder: Path, name: str) -> None:
    """Do what a client does first, on another service, whose tokens live for an hour."""
    uri = uri_for(folder, "rehearsal")
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 0)
    if name == "hands_its_environment_on":
        run_child({"MLFLOW_TRACKING_URI": uri, "RUN": run.info.run_id}, 0)
    connection_of(uri).close()


def live(folder: Path, name: str) -> None:
    """Be one client: print what it returns, as JSON, or how it failed."""
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}.{stream}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), number)
    if name == "spawns":
        STARTED_BEFORE.append(Spawned())
    (folder / f"{name}.ready").touch()
    rehearse(folder, name)
    (folder / f"{name}.rehearsed").touch()
    try:
        mlflow.set_tracking_uri(uri_for(folder, name))
        key = folder / f"{name}.key"
        if key.exists():
            os.environ["AMLSTORE_KEY"] = key.read_text()
        print(json.dumps(CLIENTS[name](folder)), flush=True)
    except BaseException:
        traceback.print_exc()
        print("failed", flush=True)
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("mlflow").setLevel(logging.DEBUG)
    given = Path(sys.argv[1])
    for client in CLIENTS:
        if os.fork() == 0:
            live(given, client)
    for state in ("ready", "rehearsed"):
        for client in CLIENTS:
            wait_for(given / f"{client}.{state}")
        print(state, flush=True)
    for _ in CLIENTS:
        os.wait()
