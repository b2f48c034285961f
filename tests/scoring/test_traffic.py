"""Deployments of one endpoint share a socket; a file says which of them answers, and changing it loses no request."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import DEADLINE_S, KEYS, Answer, Scorer, save, served_folder
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

RIDGE = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
BODY = {"data": [[1.0]]}
ADDRESSED = "azureml-model-deployment"


class Waits(BaseEstimator):
    """Predicts only after a while; zeros sooner, but not so fast that it would be asked on the event loop."""

    n_features_in_ = 1

    def predict(self, X: Any) -> Any:
        import time

        time.sleep(30 if X[0][0] else 0.05)
        return X


class Endpoint:
    """A socket, the file beside it, and the deployments that share both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "traffic.json"
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.deployments: dict[int, Scorer] = {}

    def start(self, number: int, model: Any = RIDGE, **deployment: Any) -> Scorer:
        options = {"model": "model.skops" if type(model) is Ridge else "model.pkl", **deployment}
        folder = served_folder(self.folder / str(number), number=number, **options)
        save(model, folder / options["model"])
        more = ["--own-socket", str(self.socket(number)), "--traffic", str(self.file)]
        self.deployments[number] = Scorer(folder, self.listening, more)
        return self.deployments[number].healthy()

    def socket(self, number: int) -> Path:
        return self.folder / f"{number}.sock"

    def send_to(self, **percents: Any) -> None:
        """Replace the file: `_1=90, _2=10`."""
        serving = {
            number[1:]: {"percent": percent, "socket": str(self.socket(int(number[1:]))), "name": f"name{number}"}
            for number, percent in percents.items()
        }
        new = self.folder / "traffic.new"
        new.write_text(json.dumps({"serving": serving}))
        new.replace(self.file)

    def own(self, number: int, path: str, body: Any = None, key: str | None = KEYS[0]) -> Answer:
        """Ask a deployment by its own socket."""
        with closing(http.client.HTTPConnection("localhost")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(DEADLINE_S)
            connection.sock.connect(str(self.socket(number)))
            return self.deployments[number].ask(path, body, key=key, connection=connection)

    def who(self, **more: Any) -> str:
        got = next(iter(self.deployments.values())).score(BODY, **more)
        assert got.status == 200, got
        return got.headers[ADDRESSED]


@pytest.fixture
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path_factory.mktemp("e"))
    yield made
    for scorer in made.deployments.values():
        scorer.end()
    made.listening.close()


def test_a_deployment_answers_on_its_own_socket_before_it_gets_any_of_the_endpoints_requests(
    endpoint: Endpoint,
) -> None:
    scorer = endpoint.start(1)
    assert endpoint.own(1, "/score", BODY).json == [pytest.approx(0.6667, abs=1e-3)]
    assert endpoint.own(1, "/score", BODY, key=None).status == 401
    with socket.create_connection(("127.0.0.1", scorer.port)) as waiting:
        waiting.settimeout(0.5)
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        endpoint.send_to(_1=100)
        waiting.settimeout(DEADLINE_S)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200")
    assert endpoint.who() == "1"
    assert endpoint.socket(1).stat().st_mode & 0o077 == 0


def test_a_switch_under_load_loses_no_request_and_is_one_from_then_on(endpoint: Endpoint) -> None:
    first = endpoint.start(1, workers=2)
    endpoint.send_to(_1=100)
    endpoint.start(2)
    ended = threading.Event()
    answers: list[list[tuple[float, int, str]]] = [[] for _ in range(6)]
    faults: list[BaseException] = []

    def ask(number: int) -> None:
        kept = first.connection()
        try:
            while not ended.is_set():
                began = time.monotonic()
                got = first.score(BODY, connection=kept if number < 4 else None)
                answers[number].append((began, got.status, got.headers[ADDRESSED]))
        except BaseException as error:
            faults.append(error)
        finally:
            kept.close()

    def have_all(count: int) -> bool:
        return bool(faults) or all(len(one) >= count for one in answers)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answers))]
    for thread in threads:
        thread.start()
    wait_for(lambda: have_all(20))
    changed = time.monotonic()
    endpoint.send_to(_2=100)
    wait_for(lambda: bool(faults) or all(one[-1][2] == "2" for one in answers))
    counts = [len(one) for one in answers]
    wait_for(lambda: bool(faults) or all(len(one) > n + 20 for one, n in zip(answers, counts, strict=True)))
    first.process.send_signal(signal.SIGTERM)  # as the host does, once nobody is sent there any more
    first.wait_for("stopped")
    wait_for(lambda: bool(faults) or all(len(one) > n + 40 for one, n in zip(answers, counts, strict=True)))
    ended.set()
    for thread in threads:
        thread.join()
    assert not faults
    for one in answers:
        assert {status for _, status, _ in one} == {200}
        assert {who for began, _, who in one if began < changed} == {"1"}
        assert {who for _, _, who in one[-20:]} == {"2"}


def test_requests_are_split_by_percent_wherever_their_connection_is(endpoint: Endpoint) -> None:
    first = endpoint.start(1)
    endpoint.start(2)
    endpoint.send_to(_1=90, _2=10)
    endpoint.who()
    time.sleep(0.3)  # until both have seen the file
    connections = [first.connection() for _ in range(4)]
    got = Counter(endpoint.who(connection=connections[number % 4]) for number in range(600))
    assert got.total() == 600
    assert 20 <= got["2"] <= 120, got  # 60 are expected, and a standard deviation is 7
    for connection in connections:
        connection.close()


def test_a_header_addresses_a_deployment_by_number_or_name(endpoint: Endpoint) -> None:
    scorer = endpoint.start(1)
    endpoint.start(2)
    endpoint.send_to(_1=100, _2=0)
    assert endpoint.who() == "1"
    wait_for(lambda: scorer.score(BODY, headers={ADDRESSED: "2"}).status == 200)
    for asked, expected in (("1", "1"), ("2", "2"), ("name_1", "1"), ("name_2", "2")):
        assert endpoint.who(headers={ADDRESSED: asked}) == expected
    refused = scorer.score(BODY, headers={ADDRESSED: "3"})
    assert refused.status == 404
    assert "1 (name_1), 2 (name_2)" in refused.json["message"]
    assert scorer.score(BODY, key=None, headers={ADDRESSED: "3"}).status == 401
    assert scorer.score(BODY, key="wrong", headers={ADDRESSED: "2"}).status == 401


def test_an_answer_from_another_deployment_is_passed_on_as_it_is(endpoint: Endpoint) -> None:
    scorer = endpoint.start(1)
    endpoint.start(2)
    endpoint.send_to(_1=100, _2=0)
    wait_for(lambda: scorer.score(BODY, headers={ADDRESSED: "2"}).status == 200)
    sent = {ADDRESSED: "2", "x-request-id": "mine", "Connection": "keep-alive, x-private", "x-private": "1"}
    got = scorer.score(BODY, headers=sent)
    assert (got.status, got.headers["x-request-id"], got.headers[ADDRESSED]) == (200, "mine", "2")
    assert float(got.headers["x-ms-run-fn-exec-ms"]) > 0
    refused = scorer.score({"data": [[1, 2]]}, headers={ADDRESSED: "2"})
    assert (refused.status, refused.headers[ADDRESSED]) == (400, "2")
    assert scorer.score(b"x" * 17_000_000, headers={ADDRESSED: "2"}).status == 413


def test_a_deployment_that_is_killed_fails_what_is_with_it_and_nothing_else(endpoint: Endpoint) -> None:
    scorer = endpoint.start(1)
    other = endpoint.start(2, Waits(), allow_pickle=True)
    endpoint.send_to(_1=100, _2=0)
    assert endpoint.who() == "1"
    got: list[Answer] = []
    asking = threading.Thread(target=lambda: got.append(scorer.score(BODY, headers={ADDRESSED: "2"})))
    wait_for(lambda: scorer.score({"data": []}, headers={ADDRESSED: "2"}).status == 400)
    asking.start()
    wait_for(lambda: endpoint.own(2, "/own/metrics", key=None).json["in_flight"] == 1)
    assert endpoint.who() == "1"
    processes = [other.process.pid, *_below(other.process.pid)]
    for process in processes:
        os.kill(process, signal.SIGKILL)
    asking.join()
    assert got[0].status in (502, 503)
    assert "deployment 2" in got[0].json["message"]
    assert endpoint.who() == "1"
    assert scorer.score(BODY, headers={ADDRESSED: "2"}).status == 503
    assert endpoint.who() == "1"


def _below(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def test_a_file_that_is_half_written_changes_nothing(endpoint: Endpoint) -> None:
    scorer = endpoint.start(1)
    endpoint.send_to(_1=100)
    assert endpoint.who() == "1"
    endpoint.file.write_text('{"serving": {"2"')
    wait_for(lambda: "what it said before still holds" in scorer.log.read_text())
    assert endpoint.who() == "1"


def test_a_deployment_that_was_taken_off_the_socket_is_put_back(endpoint: Endpoint) -> None:
    endpoint.start(1)
    endpoint.start(2)
    for _ in range(3):
        endpoint.send_to(_2=100)
        wait_for(lambda: endpoint.who() == "2")
        endpoint.send_to(_1=100)
        wait_for(lambda: endpoint.who() == "1")


def test_the_own_socket_says_without_a_key_how_the_deployment_is_doing(endpoint: Endpoint) -> None:
    scorer = endpoint.start(1, workers=2)
    endpoint.send_to(_1=100)
    for number in range(20):
        scorer.score(BODY if number % 4 else {"data": []})
    said = endpoint.own(1, "/own/metrics", key=None).json
    assert (said["requests"], said["errors"], said["in_flight"]) == (20, 5, 0)
    assert said["statuses"] == {"200": 15, "400": 5}
    recent = said["last_minute"]
    assert (recent["requests"], recent["errors"]) == (20, 5)
    assert recent["requests_per_s"] > 0
    assert 0 < recent["p50_s"] <= recent["p95_s"] <= recent["p99_s"]
    assert scorer.ask("/own/metrics", key=None).status == 401
    assert scorer.ask("/own/metrics").status == 404
    assert endpoint.own(1, "/metrics", key=None).status == 401
