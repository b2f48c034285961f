"""What Azure ML's service has for runs beside MLflow's API: a token for a run's process, and batches written later."""

import json
import time
import urllib.error
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest

from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.addresses import workspace_path

if TYPE_CHECKING:
    from tests.service.conftest import Service


@pytest.fixture
def run_id(service: "Service") -> str:
    token = service.token_of(Role.CONTRIBUTOR)
    created = service.call("POST", "/api/2.0/mlflow/runs/create", token, {"experiment_id": "0"})
    return str(created["run"]["info"]["run_id"])


def path(service: "Service", area: str, rest: str) -> str:
    return f"/{area}{quote(workspace_path(service.workspace_name))}{rest}"


def status_of(service: "Service", method: str, where: str, token: str, body: object = None) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.call(method, where, token, body)
    assert json.load(refused.value)
    return refused.value.code


@pytest.mark.parametrize("experiment", ["experimentids/0", "experiments/Default", "experiments/0"])
def test_a_runs_process_gets_a_token_for_tracking(service: "Service", run_id: str, experiment: str) -> None:
    held = service.token

    given = service.call("GET", path(service, "history/v1.0", f"/{experiment}/runs/{run_id}/token"), held)

    claims = jwt.decode(given["token"], options={"verify_signature": False})
    assert claims["use"] == "tracking"
    assert datetime.fromisoformat(given["expiryTimeUtc"].replace("Z", "+00:00")).timestamp() == claims["exp"]
    assert claims["exp"] > time.time()
    logged = {"run_id": run_id, "key": "k", "value": "v"}
    assert service.call("POST", "/api/2.0/mlflow/runs/set-tag", given["token"], logged) == {}


def test_a_readers_token_of_a_run_is_a_readers(service: "Service", run_id: str) -> None:
    where = path(service, "history/v1.0", f"/experimentids/0/runs/{run_id}/token")
    given = service.call("GET", where, service.token_of(Role.READER))

    logged = {"run_id": run_id, "key": "k", "value": "v"}
    assert status_of(service, "POST", "/api/2.0/mlflow/runs/set-tag", given["token"], logged) == 403


def test_there_is_no_token_for_a_run_that_isnt_there(service: "Service", run_id: str) -> None:
    for rest in (f"/experimentids/1/runs/{run_id}", f"/experiments/another/runs/{run_id}", "/experimentids/0/runs/x"):
        assert status_of(service, "GET", path(service, "history/v1.0", f"{rest}/token"), service.token) == 404


@pytest.mark.parametrize("version", ["v1.0", "v2.0"])
def test_an_asynchronous_batch_is_written_when_it_is_answered(service: "Service", run_id: str, version: str) -> None:
    preview = path(service, f"mlflow/{version}", "/api/2.0/preview/mlflow/runs")
    batch = {
        "run_id": run_id,
        "metrics": [{"key": "loss", "value": "NaN", "timestamp": 1, "step": 0}],
        "params": [{"key": "lr", "value": "0.1"}],
        "tags": [{"key": "kind", "value": "test"}],
    }

    tracking_id = service.call("POST", f"{preview}/log-batch-async", service.token, batch)["batch_tracking_id"]

    query = f"run_id={run_id}&batch_tracking_id={tracking_id}"
    assert tracking_id
    assert service.call("GET", f"{preview}/get-run-data-status?{query}", service.token) == {"is_complete": True}
    data: Any = service.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}", service.token)["run"]["data"]
    assert data["metrics"] == [{"key": "loss", "value": "NaN", "timestamp": 1, "step": 0}]
    assert {"key": "lr", "value": "0.1"} in data["params"]


def test_an_asynchronous_batch_is_refused_as_a_whole(service: "Service", run_id: str) -> None:
    preview = path(service, "mlflow/v2.0", "/api/2.0/preview/mlflow/runs")
    batch = {"run_id": run_id, "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}

    assert status_of(service, "POST", f"{preview}/log-batch-async", service.token, batch) == 400
    assert status_of(service, "GET", f"{preview}/get-run-data-status?run_id=none", service.token) == 404
    data = service.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}", service.token)["run"]["data"]
    assert "params" not in data or data["params"] == []
