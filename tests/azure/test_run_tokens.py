"""A submitted job: its token comes in environment variables, and is renewed at the service for its run."""

import math
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from azure_cloud import Cloud
from machine_speed import at_least

from mlflow_amlstore.client.tokens.tracking_token import expiry_of

SCRIPT = """
import sys, time, mlflow
with mlflow.start_run():
    until = time.monotonic() + float(sys.argv[1])
    step = 0
    while time.monotonic() < until:
        mlflow.log_metric("m", step, step=step)
        step += 1
        time.sleep(0.2)
print(step)
"""
LOG_ONCE = "import mlflow; mlflow.log_metric('m', 1)"


class Job(NamedTuple):
    """A job that has ended."""

    environment: dict[str, str]
    done: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One that the module's tests share; each job has a run of its own."""
    with Cloud(tmp_path_factory.mktemp("around") / "cloud") as running:
        yield running


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, dict[str, Job]]]:
    """A cloud whose tokens live for seconds, and its jobs, which run at once: one of each kind that outlives its token,
    and one that begins when its token has ended."""
    life_s = at_least(3, 5)
    with (
        Cloud(tmp_path_factory.mktemp("around") / "cloud", "--token-lifetime", str(life_s)) as cloud,
        ThreadPoolExecutor(3) as pool,
    ):
        late = job(cloud, "mlflow")

        def run(kind: str) -> Job:
            environment = job(cloud, kind)
            return Job(environment, cloud.run(SCRIPT, str(life_s * 2 + 1), **environment))

        running = {kind: pool.submit(run, kind) for kind in ("mlflow", "azureml")}
        time.sleep(life_s + 1)
        jobs = {"late": Job(late, cloud.run(LOG_ONCE, **late))}
        yield cloud, jobs | {kind: running[kind].result() for kind in running}


def job(cloud: Cloud, kind: str) -> dict[str, str]:
    """The environment of a job, with the variables of MLflow or with Azure ML's own."""
    given = {"experiment_id": "0", "run_name": "job"}
    run = cloud.call("POST", "/api/2.0/mlflow/runs/create", cloud.token, given)["run"]["info"]
    if kind == "mlflow":
        return {
            "MLFLOW_TRACKING_URI": cloud.root,
            "MLFLOW_TRACKING_TOKEN": cloud.token,
            "MLFLOW_RUN_ID": run["run_id"],
            "MLFLOW_EXPERIMENT_ID": "0",
        }
    subscription, group, name = cloud.names
    return {
        "MLFLOW_TRACKING_URI": cloud.root,
        "AZUREML_RUN_TOKEN": cloud.token,
        "AZUREML_RUN_ID": run["run_id"],
        "MLFLOW_RUN_ID": run["run_id"],
        "AZUREML_ARM_SUBSCRIPTION": subscription,
        "AZUREML_ARM_RESOURCEGROUP": group,
        "AZUREML_ARM_WORKSPACE_NAME": name,
        "AZUREML_ARM_PROJECT_NAME": "Default",
    }


@pytest.mark.parametrize("kind", ["mlflow", "azureml"])
def test_a_job_outlives_its_token(short: tuple[Cloud, dict[str, Job]], kind: str) -> None:
    cloud, jobs = short
    environment, done = jobs[kind]
    assert done.returncode == 0, done.stderr
    query = f"run_id={environment['MLFLOW_RUN_ID']}&metric_key=m&max_results=1000"
    history = cloud.call("GET", f"/api/2.0/mlflow/metrics/get-history?{query}", cloud.token)["metrics"]
    assert len(history) == int(done.stdout.splitlines()[-1])
    token = environment.get("MLFLOW_TRACKING_TOKEN") or environment["AZUREML_RUN_TOKEN"]
    ended_s = expiry_of(token) or math.inf
    assert sum(point["timestamp"] > ended_s * 1000 for point in history) > 1
    log = cloud.log.read_text(encoding="utf-8")
    assert f"/runs/{environment['MLFLOW_RUN_ID']}/token" in log
    assert token not in log + done.stdout + done.stderr


def test_a_token_that_has_ended_is_told_as_such(short: tuple[Cloud, dict[str, Job]]) -> None:
    environment, done = short[1]["late"]
    assert "expired at" in done.stderr
    assert "Start the job again" in done.stderr
    assert environment["MLFLOW_TRACKING_TOKEN"] not in done.stderr


def test_a_token_goes_to_no_other_workspace(cloud: Cloud) -> None:
    environment = {**job(cloud, "mlflow"), "MLFLOW_TRACKING_URI": "azureml://elsewhere.example/mlflow/v2.0/x"}
    script = f"import mlflow; mlflow.MlflowClient({cloud.root!r}).create_run('0')"
    done = cloud.run(script, **environment, PATH="/nowhere")
    assert done.returncode != 0
    assert "No credential" in done.stderr


def test_a_line_end_behind_a_token_does_no_harm(cloud: Cloud) -> None:
    environment = job(cloud, "mlflow")
    environment["MLFLOW_TRACKING_TOKEN"] += "\r\n"
    done = cloud.run("import mlflow; mlflow.log_metric('m', 1); print('logged')", **environment)
    assert "logged" in done.stdout, done.stderr


@pytest.mark.parametrize("middle", ["\n", " ", "ü", "\x01"])
def test_what_can_be_no_token_is_refused_without_being_shown(cloud: Cloud, middle: str) -> None:
    environment = job(cloud, "mlflow")
    token = environment["MLFLOW_TRACKING_TOKEN"]
    environment["MLFLOW_TRACKING_TOKEN"] = token[:60] + middle + token[60:]
    done = cloud.run(LOG_ONCE, **environment)
    assert "has characters that no token has" in done.stderr
    assert token[:60] not in done.stdout + done.stderr


def test_a_token_without_a_run_works_while_it_lives(cloud: Cloud) -> None:
    environment = {"MLFLOW_TRACKING_URI": cloud.root, "MLFLOW_TRACKING_TOKEN": cloud.token}
    done = cloud.run("import mlflow; mlflow.log_metric('m', 1); print('logged')", **environment)
    assert "logged" in done.stdout, done.stderr


def test_the_status_of_a_jobs_run_is_its_launchers(cloud: Cloud) -> None:
    environment = job(cloud, "azureml")
    script = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
    mlflow.MlflowClient().update_run(run.info.run_id, name="renamed")
with mlflow.start_run(run_id=mlflow.MlflowClient().create_run("0").info.run_id) as other:
    pass
print(other.info.run_id)
"""
    done = cloud.run(script, **environment)
    assert done.returncode == 0, done.stderr
    own, other = environment["AZUREML_RUN_ID"], done.stdout.splitlines()[-1]
    found = {
        run_id: cloud.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}", cloud.token)["run"]["info"]
        for run_id in (own, other)
    }
    assert (found[own]["status"], found[own]["run_name"]) == ("RUNNING", "renamed")
    assert found[other]["status"] == "FINISHED"
