"""A service over TLS: its certificate is checked, by whatever the usual variables say."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.client.connection import connection_of

CA_VARIABLES = ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service"), "--tls", "self-signed") as running:
        yield running


@pytest.fixture
def ca(service: ForkedService) -> Path:
    """The development CA that the service made."""
    (found,) = (service.folder.parent / "state").rglob("ca.pem")
    return found


@pytest.fixture(autouse=True)
def _nothing_trusted(service: ForkedService, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*CA_VARIABLES, "MLFLOW_TRACKING_INSECURE_TLS", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield
    connection_of(service.tracking_uri).close()


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_its_ca_is_trusted_by_any_of_the_usual_variables(
    service: ForkedService, ca: Path, monkeypatch: pytest.MonkeyPatch, variable: str, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(ca))
    client = MlflowClient(service.tracking_uri)
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "x", "a.txt")
    assert Path(client.download_artifacts(run_id, "a.txt", str(tmp_path))).read_text() == "x"


def test_without_it_the_error_comes_at_once_and_says_what_to_do(service: ForkedService, ca: Path) -> None:
    began = time.monotonic()
    assert requests.get(f"{service.url}/health", verify=ca).ok
    request_s = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(MlflowException, match="its certificate is not trusted") as raised:
        MlflowClient(service.tracking_uri).search_experiments()
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in str(raised.value)
    assert time.monotonic() - began < 100 * request_s  # it isn't tried for two minutes


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_what_the_error_says_to_do_helps_in_the_same_process(
    service: ForkedService, ca: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    client = MlflowClient(service.tracking_uri)
    with pytest.raises(MlflowException, match="its certificate is not trusted"):
        client.search_experiments()
    monkeypatch.setenv(variable, str(ca))
    assert client.search_experiments()


def test_a_file_of_authorities_is_read_again_once_it_did_not_do(
    service: ForkedService, ca: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Path(requests.utils.DEFAULT_CA_BUNDLE_PATH).read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authorities))
    client = MlflowClient(service.tracking_uri)
    with pytest.raises(MlflowException, match="its certificate is not trusted"):
        client.search_experiments()
    authorities.write_bytes(ca.read_bytes())
    assert client.search_experiments()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_mlflows_switch_goes_without(service: ForkedService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert [experiment.name for experiment in MlflowClient(service.tracking_uri).search_experiments()] == ["Default"]


def test_plain_http_to_it_is_said_so(service: ForkedService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    plain = service.tracking_uri.replace("azureml://", "azureml+http://")
    with pytest.raises(MlflowException, match="can't be reached: "):
        MlflowClient(plain).search_experiments()
    connection_of(plain).close()


def test_a_proxy_is_used_for_it(
    service: ForkedService, ca: Path, network_proxy: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    monkeypatch.setenv("HTTPS_PROXY", os.environ["TEST_PROXY"])
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert MlflowClient(service.tracking_uri).search_experiments()
    assert network_proxy[0].startswith(f"CONNECT {service.url.removeprefix('https://')} ".encode())
    assert all(b"Bearer" not in seen for seen in network_proxy)


@pytest.fixture
def network_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that tunnels; what it could read of each connection."""
    seen: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("TEST_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                seen.append(near.recv(65536))
                host, _, port = seen[-1].split()[1].decode().rpartition(":")
                far = socket.create_connection((host, int(port)))
                near.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                threading.Thread(target=carry, args=(near, far), daemon=True).start()
                threading.Thread(target=carry, args=(far, near), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield seen
    listening.close()
