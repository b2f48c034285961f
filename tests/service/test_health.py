"""Whether a service lives and can serve, as monitors and load balancers ask it."""

import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from forked_service import ForkedService


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
        assert "is gone; the service's log says where it was" in told
        assert str(service.folder) not in told
    assert ask(service, "GET", "/health/live") == (200, "OK")

    (tmp_path / "elsewhere").rename(service.folder)
    assert ask(service, "GET", "/health") == (200, "OK")
    service.stop()  # which writes the rest of the log
    assert f"No workspace in {service.folder}" in service.log.read_text()
