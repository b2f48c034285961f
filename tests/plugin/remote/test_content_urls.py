"""Content URLs, over a service where they are good for two seconds, or for longer on a slow machine."""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mlflow
import pytest
from forked_service import ForkedService
from machine_speed import at_least
from mlflow import MlflowClient

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.files.azureml_uri import RunRoot
from mlflow_amlstore.client.files.content_url import ContentUrl
from mlflow_amlstore.client.files.download import download_file
from mlflow_amlstore.client.files.remote_files import RemoteFiles
from mlflow_amlstore.client.files.upload import upload_files
from mlflow_amlstore.errors import ServiceUnreachable
from mlflow_amlstore.plugin.remote_artifacts import RemoteArtifactRepository
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at

CONTENT = random.Random(1).randbytes(20_000_001)


@pytest.fixture(scope="module")
def life_s() -> float:
    return at_least(2, 5)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, life_s: float) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service"), "--token-lifetime", str(life_s)) as running:
        yield running


@pytest.fixture
def client(service: ForkedService) -> Iterator[MlflowClient]:
    uri = f"{service.tracking_uri.partition('?')[0]}?token={service.token}"
    with mlflow_pointed_at(uri):
        yield MlflowClient()
    connection_of(uri).close()


def test_one_that_expired_is_asked_for_anew(
    client: MlflowClient, experiment_id: str, run_id: str, tmp_path: Path, life_s: float
) -> None:
    files = RemoteFiles(connection_of(mlflow.get_tracking_uri()), RunRoot(experiment_id, run_id))
    (tmp_path / "large").write_bytes(CONTENT)
    files.upload([("first", tmp_path / "large")])
    ask = partial(files._content_to_read, "first")
    to_read = ContentUrl("first", ask(), ask, is_services_own=True)
    (to_write,) = files._registered([("second", tmp_path / "large")])
    time.sleep(life_s + 0.1)
    download_file(to_read, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    upload_files([to_write])
    assert Path(client.download_artifacts(run_id, "second", str(tmp_path))).read_bytes() == CONTENT


def test_no_log_line_and_no_repr_has_the_signature(
    client: MlflowClient, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "urllib3")
    client.log_text(run_id, "x", "a.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/a.txt") == "x"
    lines = [record.getMessage() for record in caplog.records if "sig=" in record.getMessage()]
    assert len(lines) == 2
    assert all("sig=REDACTED" in line for line in lines)
    assert "sig" not in repr(RemoteArtifactRepository(client.get_run(run_id).info.artifact_uri))


def test_one_over_plain_http_elsewhere_is_not_used(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    files = RemoteFiles(connection_of(mlflow.get_tracking_uri()), RunRoot(experiment_id, run_id))
    for url in ("http://far.example/x?sig=s", "file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(ServiceUnreachable, match="neither https nor loopback"):
            files._checked({"contentUri": url})
    assert files._checked({"contentUri": "https://far.example/x?sig=s"}).url.startswith("https://far.example")
