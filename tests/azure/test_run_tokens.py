"""A submitted job: its token comes in environment variables, and is renewed at the service for its run."""

import time
from collections.abc import Callable

import pytest
from azure_cloud import Cloud

LIFETIME_S = 6
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


@pytest.fixture
def short(start_cloud: Callable[..., Cloud]) -> Cloud:
    return start_cloud("--token-lifetime", str(LIFETIME_S))


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
def test_a_job_outlives_its_token(short: Cloud, kind: str) -> None:
    environment = job(short, kind)
    began = time.monotonic()
    done = short.run(SCRIPT, str(LIFETIME_S * 2), **environment)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > LIFETIME_S * 2
    query = f"run_id={environment['MLFLOW_RUN_ID']}&metric_key=m&max_results=1000"
    history = short.call("GET", f"/api/2.0/mlflow/metrics/get-history?{query}", short.token)["metrics"]
    assert len(history) == int(done.stdout.splitlines()[-1]) > LIFETIME_S * 2
    log = short.log.read_text(encoding="utf-8")
    assert f"/runs/{environment['MLFLOW_RUN_ID']}/token" in log
    token = environment.get("MLFLOW_TRACKING_TOKEN") or environment["AZUREML_RUN_TOKEN"]
    assert token not in log + done.stdout + done.stderr


def test_a_token_that_has_ended_is_told_as_such(short: Cloud) -> None:
    environment = job(short, "mlflow")
    time.sleep(LIFETIME_S + 1)
    done = short.run("import mlflow; mlflow.log_metric('m', 1)", **environment)
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
    done = cloud.run("import mlflow; mlflow.log_metric('m', 1)", **environment)
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
