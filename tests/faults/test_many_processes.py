"""Many processes, threads and forks on one workspace: nothing is lost and nobody sees a lock."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import mlflow.entities
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.tracking._model_registry.utils import _get_store as registry_store
from mlflow.tracking._tracking_service.utils import _get_store as tracking_store

from mlflow_amlstore.core import Workspace

RunScript = Callable[..., str]

# The processes are forked from one that has imported MLflow and opened nothing, so that they start together.
EIGHT_PROCESSES = """
import multiprocessing, sys
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_amlstore.core import Workspace

def at_once(number, barrier):
    barrier.wait()
    act(number)

def start():
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [context.Process(target=at_once, args=(number, barrier)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in processes))

def say(text):
    sys.stdout.write(text + "\\n")  # one write for each line, so that lines of two processes don't mix
    sys.stdout.flush()
"""


def test_eight_processes_log_500_metrics_each_and_all_4000_are_kept(
    amlstore_workspace: Workspace, run_script: RunScript
) -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    script = """
def act(number):
    client = MlflowClient(sys.argv[1])
    for step in range(500):
        client.log_metric(sys.argv[2], f"process_{number}", step / 7, step=step)

start()
"""
    run_script(EIGHT_PROCESSES + script, amlstore_workspace.get_mlflow_tracking_uri(), run_id)

    histories = [client.get_metric_history(run_id, f"process_{number}") for number in range(8)]
    print(f"logged by 8 processes: {8 * 500}, found: {sum(map(len, histories))}")
    for history in histories:
        assert [(point.step, point.value) for point in history] == [(step, step / 7) for step in range(500)]


@pytest.mark.skipif(not hasattr(mlflow.entities, "LoggedModel"), reason="MLflow 2's set_experiment loses that race")
def test_eight_processes_set_one_experiment_and_it_is_made_once(
    amlstore_workspace: Workspace, run_script: RunScript
) -> None:
    script = """
def act(number):
    mlflow.set_tracking_uri(sys.argv[1])
    for name in range(10):
        say(f"{name} {mlflow.set_experiment(f'experiment {name}').experiment_id}")

start()
"""
    printed = run_script(EIGHT_PROCESSES + script, amlstore_workspace.get_mlflow_tracking_uri()).splitlines()

    assert len(printed) == 80
    assert len(set(printed)) == 10  # each name has one id, whichever process asked
    assert len(MlflowClient().search_experiments()) == 11  # and Default


def test_of_eight_processes_that_create_one_experiment_one_does_and_seven_hear_that_it_exists(
    amlstore_workspace: Workspace, run_script: RunScript
) -> None:
    script = """
def act(number):
    try:
        MlflowClient(sys.argv[1]).create_experiment("contended")
        say("created")
    except MlflowException as error:
        say(error.error_code)

start()
"""
    printed = run_script(EIGHT_PROCESSES + script, amlstore_workspace.get_mlflow_tracking_uri())

    assert sorted(printed.split()) == ["RESOURCE_ALREADY_EXISTS"] * 7 + ["created"]


def test_eight_processes_make_and_open_one_workspace_at_once(tmp_path: Path, run_script: RunScript) -> None:
    script = """
def act(number):
    for folder in range(8):
        workspace = Workspace.create(f"{sys.argv[1]}/{folder}", name="shared")
        assert Workspace.from_config(f"{sys.argv[1]}/{folder}").name == "shared"
        client = MlflowClient(workspace.get_mlflow_tracking_uri())
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "number", number)

start()
"""
    run_script(EIGHT_PROCESSES + script, tmp_path)

    for folder in range(8):
        client = MlflowClient(Workspace.from_config(tmp_path / str(folder)).get_mlflow_tracking_uri())
        assert sorted(run.data.metrics["number"] for run in client.search_runs(["0"])) == list(range(8))
        left = {path.name for path in (tmp_path / str(folder)).iterdir()}
        assert left <= {"config.json", "records.db", "records.db-wal", "records.db-shm", "files", "running"}


def test_eight_threads_share_one_client(amlstore_workspace: Workspace) -> None:
    client = MlflowClient(amlstore_workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id

    def log(number: int) -> None:
        for step in range(100):
            client.log_metric(run_id, f"thread_{number}", step, step=step)
            client.get_metric_history(run_id, f"thread_{number}")

    threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(client.get_metric_history(run_id, f"thread_{number}")) for number in range(8)] == [100] * 8


FORKS = """
import os, signal, sys, threading
from mlflow import MlflowClient

client, run_id = MlflowClient(sys.argv[1]), sys.argv[2]
logged, is_over, has_begun = 0, threading.Event(), threading.Event()

def log_in_parent():
    global logged
    while not is_over.is_set():
        client.log_metric(run_id, "parent", logged, step=logged)
        client.get_run(run_id)
        logged += 1
        has_begun.set()

threads = [threading.Thread(target=log_in_parent)]
threads[0].start()
has_begun.wait()
for number in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that hangs dies
        for step in range(5):
            client.log_metric(run_id, f"child_{number}", step, step=step)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, f"child {number} failed"
is_over.set()
threads[0].join()
print(logged)
"""


@pytest.mark.skipif("not hasattr(__import__('os'), 'fork')", reason="this system has no fork")
def test_children_forked_while_the_parent_logs_log_too(amlstore_workspace: Workspace, run_script: RunScript) -> None:
    """SQLite's locks don't cross a fork; a child that inherited them would wait for ever, or lose what it logs."""
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id

    logged = int(run_script(FORKS, amlstore_workspace.get_mlflow_tracking_uri(), run_id))

    print(f"logged by the parent: {logged}, by its 20 forked children: 100")
    assert len(client.get_metric_history(run_id, "parent")) == logged
    assert [len(client.get_metric_history(run_id, f"child_{number}")) for number in range(20)] == [5] * 20


WITH_PICKLED_STORE = """
import multiprocessing, pickle, sys
from mlflow.entities import Metric

def log(store, run_id, name):
    store.log_metric(run_id, Metric(name, 1.0, 0, 0))

if __name__ == "__main__":
    store = pickle.loads(bytes.fromhex(sys.argv[1]))
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        process = context.Process(target=log, args=(store, sys.argv[2], method))
        process.start()
        process.join()
        assert process.exitcode == 0
"""


def test_a_pickled_store_logs_in_forked_and_spawned_processes(
    amlstore_workspace: Workspace, tmp_path: Path, run_script: RunScript
) -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    script = tmp_path / "script.py"  # a spawned process imports the script, so it must be a file
    script.write_text(WITH_PICKLED_STORE)

    pickled = pickle.dumps(tracking_store(amlstore_workspace.get_mlflow_tracking_uri())).hex()
    run_script("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
               script, pickled, run_id)  # fmt: skip

    assert client.get_run(run_id).data.metrics == {"fork": 1.0, "spawn": 1.0}


@pytest.mark.parametrize("get_store", [tracking_store, registry_store])
def test_a_store_pickled_in_one_process_is_the_same_workspace_when_unpickled(
    amlstore_workspace: Workspace, get_store: Callable[[str], object]
) -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    client.create_registered_model("model")

    again = pickle.loads(pickle.dumps(get_store(amlstore_workspace.get_mlflow_tracking_uri())))

    if get_store is tracking_store:
        again.log_metric(run_id, Metric("m", 2.0, 0, 0))
        assert client.get_run(run_id).data.metrics == {"m": 2.0}
    else:
        assert [model.name for model in again.search_registered_models()] == ["model"]
