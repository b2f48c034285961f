"""Whether a service lives and can serve, as monitors and load balancers ask it."""

import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from forked_service import ForkedService

from mlflow_amlstore.workspace.opening import create_workspace


def ask(service: ForkedService, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_service_is_live_and_ready(start_service: Callable[..., ForkedService]) -> None:
    service = start_service()
    assert ask(service, "GET", "/health") == (200, "OK")
    assert ask(service, "GET", "/health/live") == (200, "OK")
    assert ask(service, "GET", "/health/ready") == (200, '{"status":"ready"}')


def test_asking_for_the_head_alone_is_enough(start_service: Callable[..., ForkedService]) -> None:
    service = start_service()
    for path in ("/health", "/health/live", "/health/ready"):
        assert ask(service, "HEAD", path) == (200, "")
    assert ask(service, "HEAD", "/api/2.0/mlflow/experiments/search") == (401, "")
    assert ask(service, "HEAD", "/nothing") == (404, "")


def test_one_whose_folder_was_moved_away_lives_but_is_not_ready_until_it_is_back(
    start_service: Callable[..., ForkedService], tmp_path: Path
) -> None:
    service = start_service()
    service.folder.rename(tmp_path / "elsewhere")
    for path in ("/health", "/health/ready"):
        status, told = ask(service, "GET", path)
        assert status == 503
        assert "This service's workspace is gone; the service's log says where it was" in told
        assert str(service.folder) not in told
    assert ask(service, "GET", "/health/live") == (200, "OK")

    (tmp_path / "elsewhere").rename(service.folder)
    assert ask(service, "GET", "/health") == (200, "OK")
    service.stop()  # which writes the rest of the log
    assert f"No workspace in {service.folder}" in service.log.read_text()


def test_one_whose_folder_holds_another_workspace_reads_and_writes_nothing_there(
    start_service: Callable[..., ForkedService], tmp_path: Path
) -> None:
    service = start_service()
    token = service.token
    service.folder.rename(tmp_path / "first")
    other = create_workspace(service.folder)

    assert ask(service, "GET", "/health")[0] == ask(service, "GET", "/health/ready")[0] == 503
    for path, body in (("runs/create", {"experiment_id": "0"}), ("experiments/create", {"name": "iris"})):
        with pytest.raises(HTTPError, match="503"):
            service.call("POST", f"/api/2.0/mlflow/{path}", token, body)
    with pytest.raises(HTTPError, match="503"):
        service.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", token)
    assert [experiment.name for experiment in other.records.experiments.search().items] == ["Default"]

    other.close()
    service.folder.rename(tmp_path / "second")
    (tmp_path / "first").rename(service.folder)
    service.call("POST", "/api/2.0/mlflow/experiments/create", token, {"name": "iris"})
    service.stop()
    assert f"The folder {service.folder} holds another workspace than when it was opened" in (service.log.read_text())

    service.folder.rename(tmp_path / "first")
    (tmp_path / "second").rename(service.folder)
    service.start()
    with pytest.raises(HTTPError, match="401"):
        service.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", token)
