"""No single request, however large, stops the service for the others."""

import json
import threading
import time
import urllib.error
import uuid
from collections.abc import Callable
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest

from mlflow_amlstore.service.addresses import workspace_path
from mlflow_amlstore.service.routing import MAX_JSON_BYTES, MAX_LARGE_JSON_BYTES

if TYPE_CHECKING:
    from tests.service.conftest import Service

NOW_MS = 1_800_000_000_000


def runs(count: int) -> dict[str, Any]:
    return {"runs": [{"runId": uuid.uuid4().hex} for _ in range(count)]}


def snapshot_names(count: int) -> dict[str, Any]:
    return {"FileNames": [f"package/module_{number}/script.py" for number in range(count)]}


def metrics(count: int, cell: float) -> dict[str, Any]:
    values = [{"metricId": str(uuid.uuid4()), "name": "m", "value": [{"data": {"m": cell}, "step": 1}]}] * count
    return {"values": values}


LARGE = {
    "as many runs as a batch may have": ("PATCH", "history", "experimentids/0/batch/runs", runs(5000)),
    "as many runs as a body holds": ("PATCH", "history", "experimentids/0/batch/runs", runs(MAX_JSON_BYTES // 48)),
    "a snapshot of many names": ("POST", "content", "snapshots/getblob", snapshot_names(16_000)),
    "metrics that are no numbers": ("POST", "metric", "runs/RUN/batch", metrics(100_000, float("nan"))),
    "points that are too many": ("POST", "mlflow", "runs/log-batch", {"metrics": [
        {"key": "m", "value": 0.5, "timestamp": NOW_MS, "step": 1}] * (MAX_JSON_BYTES // 80)}),
}  # fmt: skip
AREAS = {"history": "/history/v1.0{}/", "content": "/content/v1.0{}/", "metric": "/metric/v2.0{}/"}


class Watch:
    """Asks `/health/live` again and again, and knows the longest that an answer took."""

    def __init__(self, service: "Service") -> None:
        self._address = urlsplit(service.url).netloc

    def worst_s(self, until: Callable[[], bool]) -> float:
        worst = 0.0
        connection = HTTPConnection(self._address)
        while not until():
            began = time.perf_counter()
            connection.request("GET", "/health/live")
            assert connection.getresponse().read() == b"OK"
            worst = max(worst, time.perf_counter() - began)
        connection.close()
        return worst


@pytest.fixture(scope="module")
def idle_worst_s(service: "Service") -> float:
    asked = iter(range(500))
    return Watch(service).worst_s(lambda: next(asked, None) is None)


@pytest.mark.parametrize("name", LARGE)
def test_the_service_answers_others_while_it_is_decoded_and_written(
    service: "Service", idle_worst_s: float, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method, area, path, body = LARGE[name]
    token = service.token
    run_id = service.call("POST", "/api/2.0/mlflow/runs/create", token, {"experiment_id": "0"})["run"]["info"]["run_id"]
    if area == "mlflow":
        route, body = f"/api/2.0/mlflow/{path}", {"run_id": run_id, **body}
    else:
        route = AREAS[area].format(quote(workspace_path(service.workspace_name))) + path.replace("RUN", run_id)
    encoded = json.dumps(body).encode()
    assert len(encoded) < MAX_LARGE_JSON_BYTES

    began = time.perf_counter()
    json.loads(encoded) if b"NaN" in encoded else msgspec.json.decode(encoded)
    decoding_s = time.perf_counter() - began
    told: list[str] = []
    took_s: list[float] = []

    def send() -> None:
        began = time.perf_counter()
        try:
            service.call(method, route, token, body)
            told.append("taken")
        except urllib.error.HTTPError as error:
            told.append(f"{error.code}")
        took_s.append(time.perf_counter() - began)

    sending = threading.Thread(target=send)
    sending.start()
    worst_s = Watch(service).worst_s(lambda: not sending.is_alive())
    sending.join()

    floor_s = decoding_s + idle_worst_s
    with capsys.disabled():
        what = f"{name} ({len(encoded) / 1e6:.1f} MB, {told[0]})"
        ratios = f"{worst_s / idle_worst_s:.1f} x idle, {worst_s / floor_s:.1f} x decoding and idle"
        print(f"\n{what}: the worst /health/live {ratios}")
    assert worst_s < max(10 * floor_s, took_s[0] / 3)  # on the event loop it would be nearly all of it
