"""A cloud in trouble: what is logged arrives, or one clear error says why not."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from azure_cloud import Cloud
from mlflow import MlflowClient
from mlflow.entities import Metric

from mlflow_amlstore.core import Workspace

SLOW_DOWN = {
    "status": 429,
    "headers": {"Retry-After": "1"},
    "body": {"error_code": "RESOURCE_EXHAUSTED", "message": "m"},
}
EXPIRED = {
    "status": 403,
    "body": "<Error><Code>AuthenticationFailed</Code><Message>Signature not valid in the specified time frame</Message>"
    "</Error>",
}


@pytest.fixture
def tracked(cloud: Cloud, pointed_at: Callable[[str], None]) -> Cloud:
    """A cloud that MLflow tracks into, with a credential."""
    pointed_at(Workspace(*cloud.names, cloud.credential()).get_mlflow_tracking_uri())
    return cloud


def test_what_is_throttled_arrives(tracked: Cloud) -> None:
    with mlflow.start_run() as run:
        tracked.misbehave({"method": "POST", "path": "/runs/log-", "for_s": 3, **SLOW_DOWN})
        began = time.monotonic()
        for step in range(5):
            mlflow.log_metric("loss", step, step=step)
        assert time.monotonic() - began > 2.5
    assert len(MlflowClient().get_metric_history(run.info.run_id, "loss")) == 5


def test_a_pace_is_kept_by_all_threads(start_cloud: Callable[..., Cloud], pointed_at: Callable[[str], None]) -> None:
    cloud = start_cloud("--parity", "--requests-per-second", "50")
    pointed_at(Workspace(*cloud.names, cloud.credential()).get_mlflow_tracking_uri())
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    operations = [client.log_metric(run_id, f"m{step % 5}", step, step=step, synchronous=False) for step in range(500)]
    for operation in operations:
        operation.wait()
    client.log_batch(run_id, [Metric("last", n, 0, n) for n in range(5000)])
    assert sum(len(client.get_metric_history(run_id, f"m{n}")) for n in range(5)) == 500
    assert len(client.get_metric_history(run_id, "last")) == 5000


@pytest.mark.parametrize("options", [(), ("--parity",)], ids=["written again", "written once"])
@pytest.mark.parametrize("size", [1000, 40 * 1024 * 1024])
def test_a_content_url_may_expire_during_an_upload(
    start_cloud: Callable[..., Cloud],
    pointed_at: Callable[[str], None],
    tmp_path: Path,
    options: tuple[str, ...],
    size: int,
) -> None:
    cloud = start_cloud(*options)
    pointed_at(Workspace(*cloud.names, cloud.credential()).get_mlflow_tracking_uri())
    local = tmp_path / "last.ckpt"
    local.write_bytes(os.urandom(size))
    with mlflow.start_run() as run:
        cloud.misbehave({"method": "PUT", "path": "last.ckpt", "skip": 0 if size < 2000 else 2, "times": 1, **EXPIRED})
        mlflow.log_artifact(str(local))
    found = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="last.ckpt", dst_path=str(tmp_path / "d")
    )
    assert Path(found).read_bytes() == local.read_bytes()


def test_names_that_dont_resolve_for_a_while_are_outlived(tracked: Cloud) -> None:
    script = """
import socket, time, mlflow
real, until = socket.getaddrinfo, time.monotonic() + 2
def fails(*given, **more):
    if time.monotonic() < until:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(*given, **more)
socket.getaddrinfo = fails
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
print(mlflow.get_run(run.info.run_id).data.metrics["m"])
"""
    done = tracked.run(script, MLFLOW_TRACKING_URI=tracked.tracking_uri)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1.0"


@pytest.mark.parametrize("off_s", [600, -600])
def test_a_clock_ten_minutes_off_doesnt_matter(tracked: Cloud, off_s: int) -> None:
    script = f"""
import time
real = time.time
time.time = lambda: real() + {off_s}
import mlflow, sys
from mlflow_amlstore.core import Workspace
mlflow.set_tracking_uri(Workspace(*sys.argv[1:]).get_mlflow_tracking_uri())
with mlflow.start_run() as run:
    for step in range(3):
        mlflow.log_metric("m", step, step=step)
    mlflow.log_text("t", "t.txt")
print(len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "m")))
"""
    done = tracked.run(script, *tracked.names, **tracked.signed_in)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3"


def test_nothing_answers_and_that_is_told(tracked: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = MlflowClient().create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    tracked.kill()
    with pytest.raises(mlflow.MlflowException, match="can't be reached: connection refused"):
        MlflowClient().log_metric(run_id, "m", 1)
