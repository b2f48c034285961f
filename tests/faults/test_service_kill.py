"""`kill -9` of a service under load, ten times: what its clients were told is there exactly once, and they finish."""

import base64
import hashlib
import http.client
import json
import os
import random
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from fork_server import ForkedProcess
from forked_service import ForkedService
from mlflow import MlflowClient

RunScript = Callable[..., str]

KILLS = 10
CLIENTS = 4

# Logs in every way until it is told to stop, then prints what was acknowledged. It knows nothing of the kills.
CLIENT = """
import json, pathlib, sys, time
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

number, stop = sys.argv[1], pathlib.Path(sys.argv[2])
client = MlflowClient()
steps = {"metric": 0, "batch": 0, "async": 0}
runs, versions = [], []
with mlflow.start_run(run_name=f"client {number}") as run:
    client.create_registered_model(f"model-{number}")
    while not stop.exists():
        for _ in range(20):
            mlflow.log_metric("metric", steps["metric"] / 3, step=steps["metric"])
            steps["metric"] += 1
        points = [Metric("batch", step / 3, 1, step) for step in range(steps["batch"], steps["batch"] + 200)]
        client.log_batch(run.info.run_id, metrics=points)
        steps["batch"] += 200
        for _ in range(20):
            mlflow.log_metric("async", steps["async"] / 3, step=steps["async"], synchronous=False)
            steps["async"] += 1
        runs.append(client.create_run("0", tags={"client": number, "nth": str(len(runs))}).info.run_id)
        source = f"runs:/{run.info.run_id}/model"
        versions.append(client.create_model_version(f"model-{number}", source, run.info.run_id).version)
    mlflow.flush_async_logging()
print(json.dumps({"run_id": run.info.run_id, "steps": steps, "runs": runs, "versions": versions}))
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ForkedService]:
    with ForkedService(tmp_path / "service") as running:
        yield running


def test_after_ten_kills_under_load_every_acknowledged_call_is_there_exactly_once(
    service: ForkedService, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    clients = [
        ForkedProcess(["-c", CLIENT, str(number), str(stop)], env=service.environment, stdout=subprocess.PIPE)
        for number in range(CLIENTS)
    ]
    try:
        _wait_until_all_log(service)
        for _ in range(KILLS):
            time.sleep(random.uniform(0.3, 1.2))
            service.kill()
            service.start()
        time.sleep(0.5)
    finally:
        stop.touch()
        printed = [client.stdout.read() for client in clients if client.stdout]
        ended = [client.wait() for client in clients]

    assert ended == [0] * CLIENTS
    told = [json.loads(out.splitlines()[-1]) for out in printed]
    store = MlflowClient(service.tracking_uri)
    points = sum(_check_history(store, one["run_id"], name, n) for one in told for name, n in one["steps"].items())
    for number, one in enumerate(told):
        found = store.search_runs(["0"], f"tags.client = '{number}'", max_results=5000)
        assert sorted(run.info.run_id for run in found) == sorted(one["runs"])
        versions = store.search_model_versions(f"name = 'model-{number}'", max_results=5000)
        assert sorted(int(version.version) for version in versions) == list(range(1, len(one["versions"]) + 1))
        assert list(map(int, one["versions"])) == list(range(1, len(one["versions"]) + 1))
    runs = sum(len(one["runs"]) for one in told)
    print(f"kills: {KILLS}, clients: {CLIENTS}, points acknowledged and found once: {points}")
    print(f"runs created: {runs}, model versions created: {sum(len(one['versions']) for one in told)}")


def _wait_until_all_log(service: ForkedService) -> None:
    store = MlflowClient(service.tracking_uri)
    while len(store.search_runs(["0"], "metrics.async >= 0")) < CLIENTS:
        time.sleep(0.1)


def _check_history(store: MlflowClient, run_id: str, name: str, count: int) -> int:
    history = store.get_metric_history(run_id, name)
    assert sorted((point.step, point.value) for point in history) == [(step, step / 3) for step in range(count)]
    return count


class _Sender:
    """Sends each write with a key of its own, as often as it is told to."""

    def __init__(self, service: ForkedService) -> None:
        self._service = service
        self.token = service.exchange(service.key)

    def send(self, path: str, body: object, key: str, times: int = 1) -> list[Any]:
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(lambda _: self._send(path, body, key), range(times)))

    def _send(self, path: str, body: object, key: str) -> Any:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        url = f"{self._service.url}/api/2.0/mlflow/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)


def _names(sender: _Sender) -> list[str]:
    found = sender.send("experiments/search", {"max_results": 1000}, "any")[0]["experiments"]
    return sorted(experiment["name"] for experiment in found)


def test_a_write_that_is_sent_again_is_applied_once_and_answered_the_same(service: ForkedService) -> None:
    sender = _Sender(service)
    sender.send("registered-models/create", {"name": "net"}, "key of the model")
    for number in range(20):
        first, *more = sender.send("experiments/create", {"name": f"e{number}"}, f"experiment {number}", times=3)
        assert more == [first, first]
        first, *more = sender.send("runs/create", {"experiment_id": "0"}, f"run {number}", times=3)
        assert more == [first, first]
        version = {"name": "net", "source": "s3://bucket/model"}
        first, *more = sender.send("model-versions/create", version, f"version {number}", times=3)
        assert more == [first, first]
        assert first["model_version"]["version"] == str(number + 1)

    assert _names(sender) == sorted(["Default", *(f"e{number}" for number in range(20))])
    assert len(sender.send("runs/search", {"experiment_ids": ["0"]}, "any")[0]["runs"]) == 20


def test_it_is_applied_once_when_the_service_was_killed_in_between(service: ForkedService) -> None:
    sender = _Sender(service)
    calls = [("experiments/create", {"name": f"e{number}"}, f"key {number}") for number in range(10)]
    calls += [("runs/create", {"experiment_id": "0"}, f"run {number}") for number in range(10)]
    before = [sender.send(*call)[0] for call in calls]

    service.kill()
    service.start()

    assert [sender.send(*call)[0] for call in calls] == before
    assert len(_names(sender)) == 11
    assert len(sender.send("runs/search", {"experiment_ids": ["0"]}, "any")[0]["runs"]) == 10


def test_a_refusal_is_not_remembered_and_another_write_with_the_same_key_is_one_of_its_own(
    service: ForkedService,
) -> None:
    sender = _Sender(service)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        sender.send("runs/create", {"experiment_id": "1"}, "the key")
    sender.send("experiments/create", {"name": "first"}, "another")
    created = sender.send("runs/create", {"experiment_id": "1"}, "the key")[0]
    assert created["run"]["info"]["experiment_id"] == "1"
    assert sender.send("runs/create", {"experiment_id": "0"}, "the key")[0] != created


class _Upload:
    """A file of a run that is sent in blocks of 300 kB, each to say where in the file it will be."""

    def __init__(self, service: ForkedService) -> None:
        sender = _Sender(service)
        run = sender.send("runs/create", {"experiment_id": "0"}, "run")[0]["run"]["info"]["run_id"]
        self._named = {"run_id": run, "path": "last.ckpt"}
        self._sender = sender
        self._url = sender.send("artifacts/presigned-upload-url", self._named, "any")[0]["presigned_url"]
        self.blocks = [os.urandom(300_000) for _ in range(6)]

    def send_block(self, number: int) -> None:
        request = self._block(number, self.blocks[number])
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201

    def send_half_of_a_block(self, number: int) -> http.client.HTTPConnection:
        request = self._block(number, b"")
        address = urlsplit(request.full_url)
        connection = http.client.HTTPConnection(address.netloc)
        connection.putrequest("PUT", f"{address.path}?{address.query}")
        for name, value in {**request.headers, "Content-Length": str(len(self.blocks[number]))}.items():
            connection.putheader(name, value)
        connection.endheaders(self.blocks[number][:150_000])
        return connection

    def send_list(self) -> str:
        """Return the ETag of what it became."""
        ids = "".join(f"<Latest>{self._id(number)}</Latest>" for number in range(len(self.blocks)))
        document = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{ids}</BlockList>'.encode()
        request = urllib.request.Request(f"{self._url}&comp=blocklist", document, method="PUT")
        with urllib.request.urlopen(request) as answer:
            return str(answer.headers["ETag"])

    def read(self) -> bytes:
        url = self._sender.send("artifacts/presigned-download-url", self._named, "any")[0]["presigned_url"]
        with urllib.request.urlopen(url) as answer:
            return bytes(answer.read())

    def _block(self, number: int, content: bytes) -> urllib.request.Request:
        url = f"{self._url}&comp=block&blockid={quote(self._id(number), safe='')}"
        return urllib.request.Request(url, content, {"x-amlstore-offset": str(number * 300_000)}, method="PUT")

    @staticmethod
    def _id(number: int) -> str:
        return base64.b64encode(f"{number:06d}".encode()).decode()


def test_an_upload_goes_on_after_its_service_was_killed(service: ForkedService) -> None:
    upload = _Upload(service)
    for number in (0, 2, 1):
        upload.send_block(number)
    broken = upload.send_half_of_a_block(3)

    service.kill()
    broken.close()
    service.start()
    for number in (5, 3, 4):
        upload.send_block(number)

    whole = b"".join(upload.blocks)
    assert upload.send_list() == f'"{hashlib.sha256(whole).hexdigest()}"'
    assert upload.read() == whole


def test_a_block_list_that_is_sent_again_after_the_kill_is_the_same_file(service: ForkedService) -> None:
    upload = _Upload(service)
    for number in range(6):
        upload.send_block(number)
    told = upload.send_list()

    service.kill()  # as it might be, before its answer was heard
    service.start()

    assert upload.send_list() == told
    assert upload.read() == b"".join(upload.blocks)
