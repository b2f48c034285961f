"""Records that lead to another service: they are refused when they are written, and followed without a key."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace

KEY = "amlk_0123456789ab_" + "k" * 43
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


class Listener:
    """Whoever waits at the address that a record names: it keeps what it is sent."""

    def __init__(self) -> None:
        received = self.received = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                received.append(f"{self.requestline}\n{self.headers}\n{body.decode(errors='replace')}")
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.uri = f"azureml+{self.url}/mlflow/v2.0{WORKSPACE}/experiments/0/runs/r/artifacts"


@pytest.fixture
def listener() -> Iterator[Listener]:
    waiting = Listener()
    thread = threading.Thread(target=waiting.server.serve_forever)
    thread.start()
    yield waiting
    waiting.server.shutdown()
    thread.join()
    waiting.server.server_close()


def elsewhere(listener: Listener) -> list[str]:
    return [
        listener.uri,
        f"AzureML+{listener.uri.removeprefix('azureml+')}",
        f"azureml://any.host/mlflow/v2.0{WORKSPACE}/experiments/0/runs/r/artifacts",
        "azureml://any.host/x",
        "amlstore:///etc",
    ]


@pytest.mark.parametrize("kind", ["embedded", "served"])
def test_a_location_in_another_workspace_is_refused(
    kind: str, listener: Listener, client: MlflowClient, tmp_path: Any
) -> None:
    if kind == "embedded":
        uri = Workspace.create(tmp_path / "ws").get_mlflow_tracking_uri()
        client = MlflowClient(uri, uri)
    client.create_registered_model(f"led {kind}")
    for number, uri in enumerate(elsewhere(listener)):
        with pytest.raises(MlflowException, match="another workspace") as refused:
            client.create_experiment(f"led {number}", artifact_location=uri)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        with pytest.raises(MlflowException, match="another workspace"):
            client.create_model_version(f"led {kind}", uri)
    assert listener.received == []


def test_one_that_is_followed_all_the_same_gets_no_key(
    listener: Listener, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMLSTORE_KEY", KEY)
    with pytest.raises(MlflowException, match="its key isn't sent to a service that only a record names"):
        mlflow.artifacts.download_artifacts(f"{listener.uri}/a.txt")
    assert [request for request in listener.received if KEY in request] == []

    opened = MlflowClient(f"azureml+{listener.url}/mlflow/v2.0{WORKSPACE}")
    with pytest.raises(MlflowException):
        opened.search_experiments()  # who opens it sends its key there
    assert [request for request in listener.received if KEY in request]
