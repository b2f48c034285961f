"""MLflow's own server and UI open the workspace: `mlflow server --backend-store-uri amlstore:///…`."""

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

pytest.importorskip("flask", reason="MLflow's server comes with the full mlflow package")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("server") / "workspace")


@pytest.fixture(scope="module")
def run_id(workspace: Workspace) -> str:
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    experiment = client.create_experiment("curves")
    run = client.create_run(experiment, run_name="first")
    for step in range(50):
        client.log_metric(run.info.run_id, "loss", math.exp(-step / 10), step=step)
    client.log_text(run.info.run_id, "what the run says", "notes/readme.txt")
    client.create_registered_model("diabetes_model")
    client.create_model_version("diabetes_model", f"runs:/{run.info.run_id}/notes", run.info.run_id)
    return str(run.info.run_id)


@pytest.fixture(scope="module")
def server(workspace: Workspace, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = workspace.get_mlflow_tracking_uri().partition("?")[0]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", root, "--artifacts-destination", root]
    log = tmp_path_factory.mktemp("log") / "server.log"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(url):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health").ok
    except requests.ConnectionError:
        return False


def test_the_ui_lists_experiments_and_runs(server: str, run_id: str) -> None:
    found = requests.post(f"{server}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 10})
    names = {experiment["name"]: experiment["experiment_id"] for experiment in found.json()["experiments"]}
    assert set(names) == {"Default", "curves"}
    body = {"experiment_ids": [names["curves"]], "filter": "metrics.loss < 1", "order_by": ["metrics.loss ASC"]}
    runs = requests.post(f"{server}/ajax-api/2.0/mlflow/runs/search", json=body).json()["runs"]
    assert [(run["info"]["run_id"], run["info"]["run_name"]) for run in runs] == [(run_id, "first")]


def test_a_clients_run_is_not_of_the_servers_process(server: str, workspace: Workspace) -> None:
    assert workspace.path is not None
    before = set((workspace.path / "running").iterdir())
    client = MlflowClient(server)
    run = client.create_run(client.create_experiment("remote"))
    client.update_run(run.info.run_id, status="RUNNING")
    assert set((workspace.path / "running").iterdir()) == before
    client.delete_experiment(run.info.experiment_id)


def test_the_ui_draws_a_chart_from_a_sampled_history(server: str, run_id: str) -> None:
    query = {"run_ids": run_id, "metric_key": "loss", "max_results": 10}
    path = "ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
    points = requests.get(f"{server}/{path}", params=query).json()["metrics"]
    steps = [int(point["step"]) for point in points]
    assert steps[0] == 0
    assert steps[-1] == 49
    assert steps == sorted(steps)
    assert 10 <= len(steps) <= 12


def test_the_ui_lists_files_and_shows_one(server: str, run_id: str) -> None:
    query = {"run_id": run_id, "path": "notes"}
    listed = requests.get(f"{server}/ajax-api/2.0/mlflow/artifacts/list", params=query).json()["files"]
    assert listed == [{"path": "notes/readme.txt", "is_dir": False, "file_size": len("what the run says")}]
    shown = requests.get(f"{server}/get-artifact", params={"run_uuid": run_id, "path": "notes/readme.txt"})
    assert shown.text == "what the run says"


def test_the_ui_lists_models_and_their_versions(server: str, run_id: str) -> None:
    found = requests.get(f"{server}/ajax-api/2.0/mlflow/model-versions/search").json()["model_versions"]
    assert [(version["name"], version["version"], version["run_id"]) for version in found] == [
        ("diabetes_model", "1", run_id)
    ]


def test_an_unsupported_page_of_the_ui_gets_a_clear_answer_and_the_server_goes_on(server: str) -> None:
    answer = requests.post(f"{server}/ajax-api/3.0/mlflow/traces/delete-traces", json={"experiment_id": "0"})
    assert answer.status_code >= 400
    assert requests.get(f"{server}/health").ok


def test_the_servers_artifact_proxy_reads_and_writes_the_workspaces_files(
    server: str, run_id: str, tmp_path: Path
) -> None:
    experiment = MlflowClient(server).get_run(run_id).info.experiment_id
    with mlflow_pointed_at(server):
        uri = f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"
        local = Path(mlflow.artifacts.download_artifacts(f"{uri}/notes/readme.txt", dst_path=str(tmp_path)))
        assert local.read_text() == "what the run says"
        url = f"{server}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/sent.txt"
        assert requests.put(url, data=b"over HTTP").ok
    names = [file.path for file in MlflowClient(server).list_artifacts(run_id)]
    assert names == ["notes", "sent.txt"]


@pytest.mark.parametrize("path", ["../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"])
def test_the_server_reads_nothing_outside_a_runs_files(server: str, run_id: str, path: str) -> None:
    answer = requests.get(f"{server}/get-artifact", params={"run_uuid": run_id, "path": path})
    assert answer.status_code == 400
    assert "root:" not in answer.text
