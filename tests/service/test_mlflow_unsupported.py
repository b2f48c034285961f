"""What MLflow has and the service doesn't: one clear answer each, and scripts that merely trace go on."""

import re
from typing import Any

import pytest
import requests
from fork_server import run_forked
from forked_service import ForkedService
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import MlflowHostCreds

from mlflow_amlstore.service.mlflow_api import unsupported_routes

SCRIPT = """
import mlflow

@mlflow.trace
def predict(x):
    with mlflow.start_span("inner"):
        return x + 1

with mlflow.start_run() as run:
    for x in range(3):
        predict(x)
    mlflow.log_metric("loss", 0.5)
if hasattr(mlflow, "flush_trace_async_logging"):
    mlflow.flush_trace_async_logging()
print(mlflow.get_run(run.info.run_id).data.metrics)
"""


def test_each_answers_that_it_is_not_supported(service: ForkedService) -> None:
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/x-protobuf"}
    for route in unsupported_routes.routes:
        path = re.sub(r"{[^}]*}", "one", route.path)
        answer = requests.request(route.method, service.url + path, headers=headers, data=b"\x0a\xff")
        assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED"), route
        assert "is not supported by mlflow-amlstore yet" in answer.json()["message"]


def test_any_other_endpoint_is_not_found(service: ForkedService) -> None:
    headers = {"Authorization": f"Bearer {service.token}"}
    answer = requests.get(f"{service.url}/api/2.0/mlflow/none/such", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_mlflows_client_raises_an_error_that_says_so(service: ForkedService) -> None:
    store: Any = RestStore(lambda: MlflowHostCreds(service.url, token=service.token))
    with pytest.raises(MlflowException, match="Tracing is not supported by mlflow-amlstore yet") as refused:
        store.delete_traces("0", max_timestamp_millis=1)
    assert refused.value.error_code == "NOT_IMPLEMENTED"


def test_a_script_that_traces_goes_on(service: ForkedService) -> None:
    environment = {**service.environment, "MLFLOW_TRACKING_URI": service.url, "MLFLOW_TRACKING_TOKEN": service.token}
    done = run_forked(["-c", SCRIPT], env=environment)
    assert done.returncode == 0, done.stderr
    assert "{'loss': 0.5}" in done.stdout
    assert "Traceback" not in done.stderr
