"""A service whose disk is full: 507 and why, no harm to what was written or to others; with room again, it goes on."""

import http.client
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

Fill = Callable[[], Path]

API = "/api/2.0/mlflow"
MEGABYTE = 1024 * 1024
LARGE = bytes(8 * MEGABYTE)


class Answer(NamedTuple):
    status: int
    body: Any


class Sender:
    """Sends a request once, unlike the plugin, and returns whatever is answered."""

    def __init__(self, service: ForkedService) -> None:
        self._service = service
        self._token = service.exchange(service.key)

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        given = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **headers}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        url = urlsplit(path)
        connection = http.client.HTTPConnection(urlsplit(self._service.url).netloc)
        try:
            connection.request(method, url._replace(scheme="", netloc="").geturl(), content, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def create_run(self) -> str:
        answer = self.send("POST", f"{API}/runs/create", {"experiment_id": "0"})
        return str(json.loads(answer.body)["run"]["info"]["run_id"])


@pytest.fixture
def service(small_disk: Path, tmp_path: Path) -> Iterator[ForkedService]:
    """Its workspace is on the small disk, its log is not."""
    running = ForkedService(tmp_path / "service")
    running.folder = small_disk / "workspace"
    with running:
        yield running


@pytest.fixture
def sender(service: ForkedService) -> Sender:
    return Sender(service)


def _large_dataset(run_id: str) -> dict[str, object]:
    """A write of its own that is larger than the disk."""
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "profile": "x" * 12_000_000}
    return {"run_id": run_id, "datasets": [{"dataset": dataset}]}


def _points(name: str, first: int, count: int) -> list[dict[str, object]]:
    return [{"key": name, "value": step, "timestamp": 0, "step": step} for step in range(first, first + count)]


def test_every_write_is_answered_507_and_every_read_goes_on(service: ForkedService, sender: Sender, fill: Fill) -> None:
    run_id = sender.create_run()
    fill()
    while (
        sender.send("POST", f"{API}/runs/log-batch", {"run_id": run_id, "metrics": _points("m", 0, 500)}).status == 200
    ):
        pass  # the database's own files have a little room yet

    for path, body in {
        "/runs/create": {"experiment_id": "0", "tags": [{"key": f"k{n}", "value": "x" * 5000} for n in range(20)]},
        "/experiments/create": {"name": "new", "tags": [{"key": f"k{n}", "value": "x" * 4000} for n in range(20)]},
        "/registered-models/create": {
            "name": "net",
            "tags": [{"key": f"k{n}", "value": "x" * 4000} for n in range(20)],
        },
        "/runs/log-batch": {"run_id": run_id, "metrics": _points("n", 0, 1000)},
    }.items():
        answer = sender.send("POST", API + path, body)
        assert answer.status == 507, (path, answer)
        told = json.loads(answer.body)
        assert told["error_code"] == "RESOURCE_EXHAUSTED"
        assert "No space left on the disk" in told["message"]
        assert "everything logged earlier is intact" in told["message"]
    for path in (f"{API}/runs/get?run_id={run_id}", "/health/ready", "/metrics", f"{API}/registered-models/search"):
        assert sender.send("GET", path).status == 200
    assert json.loads(sender.send("POST", f"{API}/runs/search", {"experiment_ids": ["0"]}).body)["runs"]
    assert sender.send("POST", "/auth/tracking-token").status == 200
    service.stop()  # which writes the rest of the log
    assert "No space left on the disk" in service.log.read_text()


def test_a_file_that_does_not_fit_is_refused_by_each_way_in_and_leaves_nothing(
    sender: Sender, small_disk: Path
) -> None:
    run_id = sender.create_run()
    proxied = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts"
    assert sender.send("PUT", f"{proxied}/small", b"s" * 1000).status == 200
    wanted = {"run_id": run_id, "path": "large"}
    signed = json.loads(sender.send("POST", f"{API}/artifacts/presigned-upload-url", wanted).body)["presigned_url"]
    free = shutil.disk_usage(small_disk).free

    for target, code in {
        f"{proxied}/large": b"RESOURCE_EXHAUSTED",
        signed: b"InsufficientStorage",
        f"{signed}&comp=block&blockid=YQ==": b"InsufficientStorage",
    }.items():
        answer = sender.send("PUT", target, LARGE, **{"x-ms-blob-type": "BlockBlob"})
        assert answer.status == 507, answer
        assert code in answer.body
        assert b"No space left on the disk" in answer.body
        assert shutil.disk_usage(small_disk).free >= free - 64 * 1024, target.partition("?")[2][-30:]

    listed = json.loads(sender.send("GET", f"{API}/artifacts/list?run_id={run_id}").body)["files"]
    assert [(file["path"], file["file_size"]) for file in listed] == [("small", 1000)]
    assert sender.send("GET", f"{proxied}/small") == (200, b"s" * 1000)


@pytest.mark.parametrize("size", [len(LARGE), len(LARGE) + MEGABYTE], ids=["sent whole", "sent in blocks"])
def test_after_a_file_that_did_not_fit_metrics_are_logged_as_before(
    service: ForkedService, tmp_path: Path, size: int
) -> None:
    client = MlflowClient(service.tracking_uri)
    run_id = client.create_run("0").info.run_id
    (tmp_path / "large").write_bytes(bytes(size))
    with pytest.raises(MlflowException, match="No space left on the disk") as refused:
        client.log_artifact(run_id, tmp_path / "large")
    assert refused.value.error_code == "RESOURCE_EXHAUSTED"

    for first in range(0, 5000, 1000):
        client.log_batch(run_id, metrics=[Metric("m", step, 0, step) for step in range(first, first + 1000)])
    assert client.list_artifacts(run_id) == []
    assert len(client.get_metric_history(run_id, "m")) == 5000


def test_who_writes_at_the_same_time_and_has_room_is_not_harmed(sender: Sender, small_disk: Path) -> None:
    """Writes that wait together are committed together; one that is too much for the disk mustn't take others along."""
    runs = [sender.create_run() for _ in range(8)]
    greedy = sender.create_run()

    def log_small(run_id: str) -> list[int]:
        calls = [{"run_id": run_id, "key": "m", "value": n, "timestamp": 0, "step": n} for n in range(40)]
        return [sender.send("POST", f"{API}/runs/log-metric", call).status for call in calls]

    with ThreadPoolExecutor(10) as pool:
        small = [pool.submit(log_small, run_id) for run_id in runs]
        large = [pool.submit(sender.send, "POST", f"{API}/runs/log-inputs", _large_dataset(greedy)) for _ in range(2)]
        assert [one.result() for one in small] == [[200] * 40] * 8
        for one in large:
            assert one.result().status == 507, one.result()

    for run_id in runs:
        answer = sender.send("GET", f"{API}/metrics/get-history?run_id={run_id}&metric_key=m")
        assert [point["step"] for point in json.loads(answer.body)["metrics"]] == list(range(40))
    assert (
        "dataset_inputs" not in json.loads(sender.send("GET", f"{API}/runs/get?run_id={greedy}").body)["run"]["inputs"]
    )


def test_one_that_is_too_much_for_the_disk_alone_hears_why_too(sender: Sender) -> None:
    run_id = sender.create_run()
    answer = sender.send("POST", f"{API}/runs/log-inputs", _large_dataset(run_id))
    assert (answer.status, json.loads(answer.body)["error_code"]) == (507, "RESOURCE_EXHAUSTED"), answer
    assert (
        sender.send("POST", f"{API}/runs/log-batch", {"run_id": run_id, "metrics": _points("m", 0, 10)}).status == 200
    )


def test_a_service_can_be_started_again_on_a_full_disk_and_reads_at_least(service: ForkedService, fill: Fill) -> None:
    run_id = Sender(service).create_run()
    ballast = fill()

    service.restart()
    sender = Sender(service)
    assert sender.send("GET", f"{API}/runs/get?run_id={run_id}").status == 200
    ballast.unlink()
    assert sender.send("POST", f"{API}/runs/set-tag", {"run_id": run_id, "key": "k", "value": "v"}).status == 200
