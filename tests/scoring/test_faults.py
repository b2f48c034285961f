"""Models and workers that fail: the deployment is Failed with its reason, or one request is, and the others go on."""

import http.client
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from scoring_processes import DEADLINE_S, KEYS, Scorer
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

RIDGE = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
BODY = {"data": [[1.0]]}
PICKLE = {"model": "model.pkl", "allow_pickle": True}


class Misbehaves(BaseEstimator):
    """Does what the number that it is given says."""

    n_features_in_ = 1

    def predict(self, X: Any) -> Any:
        import os
        import sys
        import time

        what = float(X[0][0])
        if what == 1:
            raise RuntimeError("no such class")
        if what == 2:
            sys.exit(3)
        if what == 3:
            while True:
                time.sleep(0.01)
        if what == 4:
            os._exit(4)
        if what == 5:
            raise MemoryError
        if what == 6:
            return [object()]
        if what == 7:
            time.sleep(0.3)
        return X[:, 0]


class FailsToLoad:
    """Does what it is told when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


@pytest.mark.parametrize(
    ("code", "expected", "parts"),
    [
        ("raise ValueError('weights are gone')", "LoadFailed", ["ValueError", "weights are gone"]),
        ("import no_such_package", "PackageMissing", ["no_such_package", "isn't installed"]),
        ("import sys; sys.exit(5)", "LoadFailed", ["SystemExit"]),
        ("import os; os._exit(5)", "LoaderDied", ["exit code 5"]),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "LoaderDied", ["SIGKILL", "memory"]),
        ("import time; time.sleep(600)", "LoadTimedOut", ["within 20 s"]),
    ],
)
def test_a_model_that_cant_be_loaded_fails_with_its_reason(
    serve: Any, tmp_path: Path, code: str, expected: str, parts: list[str]
) -> None:
    import pickle

    folder = tmp_path / "served-0"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(FailsToLoad(code)))
    limit = {"load_limit_s": 20.0} if "sleep" in code else {}
    event = serve(**PICKLE, **limit).failed()
    assert event["code"] == expected
    for part in parts:
        assert part in event["message"]
    if expected in ("LoadFailed", "PackageMissing"):
        assert event["traceback"].startswith("Traceback")
        assert 'File "<string>"' in event["traceback"]
    if expected == "LoadTimedOut":
        assert 'File "<string>"' in event["traceback"]  # where it hangs


@pytest.mark.parametrize(
    ("text", "parts"),
    [("{", ["deployment.json"]), ("{}", ["endpoint"]), (None, ["deployment.json", "can't be read"])],
)
def test_a_folder_that_isnt_a_deployment_fails(tmp_path: Path, text: str | None, parts: list[str]) -> None:
    if text is not None:
        (tmp_path / "deployment.json").write_text(text)
    event = Scorer(tmp_path).failed()
    assert event["code"] == "DeploymentInvalid"
    for part in parts:
        assert part in event["message"]


@pytest.fixture
def bad(serve: Any) -> Scorer:
    return serve(Misbehaves(), **PICKLE, predict_limit_s=1.0, workers=2, example=[[0.0]]).healthy()


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        (1, 500, "RuntimeError: no such class"),
        (2, 500, "SystemExit: 3"),
        (5, 500, "MemoryError"),
        (6, 500, "object, which JSON has nothing for"),
        (3, 504, "Scoring timeout after 1000 ms"),
    ],
)
def test_a_prediction_that_fails_is_one_answer_and_its_connection_goes_on(
    bad: Scorer, what: int, status: int, said: str
) -> None:
    connection = bad.connection()
    assert bad.score({"data": [[0]]}, connection=connection).json == [0.0]
    got = bad.score({"data": [[what]]})
    assert (got.status, got.headers["x-ms-run-function-failed"]) == (status, "True")
    assert said in got.json["message"]
    assert b"Traceback" not in got.body
    assert bad.score({"data": [[0]]}).json == [0.0]
    assert bad.score({"data": [[0]]}, connection=connection).json == [0.0]
    if what == 1:
        assert "RuntimeError: no such class" in bad.log.read_text()


@pytest.mark.parametrize(("what", "code"), [(3, None), (4, "WorkerDied")])
def test_an_example_that_hangs_is_left_and_one_that_ends_the_workers_fails(
    serve: Any, what: int, code: str | None
) -> None:
    scorer = serve(Misbehaves(), **PICKLE, predict_limit_s=1.0, example=[[what]])
    if code is None:
        assert scorer.healthy().score({"data": [[0]]}).json == [0.0]
        assert "Scoring timeout" in scorer.log.read_text()
    else:
        event = scorer.failed()
        assert (event["code"], "exit code 4" in event["message"]) == (code, True)


def test_a_worker_that_ends_is_back_and_the_others_answer_meanwhile(bad: Scorer) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        bad.score({"data": [[4]]})
    for _ in range(20):
        assert bad.score({"data": [[0]]}).status == 200
    assert bad.wait_for("worker_died")["why"] == "it ended with exit code 4"
    bad.wait_for("worker_back")
    assert len(bad.workers()) == 2


def test_kill_9_of_workers_fails_no_request_that_isnt_on_them(serve: Any) -> None:
    scorer = serve(RIDGE).healthy()
    for _ in range(3):
        (worker,) = scorer.workers()
        os.kill(worker, signal.SIGKILL)
        assert scorer.score(BODY).status == 200  # it waits in the socket, which the first process holds
        assert scorer.wait_for("worker_back")["seconds"] < DEADLINE_S
        assert scorer.workers() != [worker]


def test_a_loader_that_is_killed_is_started_again(serve: Any) -> None:
    scorer = serve(RIDGE).healthy()
    tasks = Path(f"/proc/{scorer.process.pid}/task/{scorer.process.pid}/children")
    os.kill(int(tasks.read_text().split()[0]), signal.SIGKILL)
    scorer.wait_for("loader_died")
    scorer.healthy()
    assert scorer.score(BODY).status == 200


def test_health_answers_while_a_slow_model_predicts_and_the_queue_is_bounded(serve: Any) -> None:
    scorer = serve(Misbehaves(), **PICKLE, queue_length=2).healthy()
    answers: list[int] = []
    after: list[str | None] = []

    def ask() -> None:
        got = scorer.score({"data": [[7]]})
        answers.append(got.status)
        if got.status == 429:
            after.append(got.headers.get("retry-after"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    while scorer.ask("/health", key=None).status == 200 and not answers:
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert set(answers) == {200, 429}
    assert set(after) == {"1"}
    assert scorer.score({"data": [[0]]}).status == 200


def test_sigterm_lets_requests_that_were_taken_end(serve: Any) -> None:
    scorer = serve(Misbehaves(), **PICKLE).healthy()
    got: list[Any] = []
    idle = scorer.connection()
    assert scorer.score({"data": [[0]]}, connection=idle).status == 200
    asking = threading.Thread(target=lambda: got.append(scorer.score({"data": [[7]]})))
    asking.start()
    _wait_until_waiting_for_the_model(scorer)
    scorer.process.send_signal(signal.SIGTERM)
    scorer.wait_for("draining")
    asking.join()
    assert got[0].status == 200
    assert scorer.process.wait(DEADLINE_S) == 0
    scorer.wait_for("stopped")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", scorer.port))


def _wait_until_waiting_for_the_model(scorer: Scorer) -> None:
    """Until a request was read: its bytes have left the socket."""
    deadline = time.monotonic() + DEADLINE_S
    connection = scorer.connection()
    while time.monotonic() < deadline:
        if scorer.ask("/health", key=None, connection=connection).status == 200:
            time.sleep(0.1)
            break
    connection.close()


def test_what_all_workers_did_is_summed_and_survives_them(serve: Any) -> None:
    scorer = serve(RIDGE, workers=2).healthy()
    for number in range(30):
        assert scorer.score(BODY if number % 3 else {"data": []}).status == (200 if number % 3 else 400)
    os.kill(scorer.workers()[0], signal.SIGKILL)
    scorer.wait_for("worker_back")
    text = scorer.ask("/metrics").body.decode()
    assert 'requests_total{endpoint="diabetes",deployment="1",status="200"} 20' in text
    assert 'requests_total{endpoint="diabetes",deployment="1",status="400"} 10' in text
    assert 'request_seconds_bucket{endpoint="diabetes",deployment="1",le="+Inf"} 30' in text
    assert 'worker_restarts_total{endpoint="diabetes",deployment="1"} 1' in text
    assert 'stage_seconds_total{endpoint="diabetes",deployment="1",stage="predict"}' in text


class Counts(BaseEstimator):
    """Says how many rows it was given at once, after some time; refuses negative ones."""

    n_features_in_ = 1

    def predict(self, X: Any) -> Any:
        import time

        import numpy

        time.sleep(0.03)
        if (X < 0).any():
            raise ValueError("no negative numbers")
        return numpy.column_stack([X[:, 0], numpy.full(len(X), len(X))])


def test_micro_batches_give_each_request_its_own_rows(serve: Any) -> None:
    scorer = serve(Counts(), **PICKLE, max_batch_size=16, max_latency_ms=20).healthy()
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        rows = [[number], [number + 0.5]] if number % 2 else [[number]]
        answers[number] = scorer.score({"data": rows if number != 5 else [[-1]]})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.pop(5).status == 500  # the others of its batch aren't
    assert {number: answer.json[0][0] for number, answer in answers.items()} == {n: float(n) for n in answers}
    assert all(len(answer.json) == (2 if number % 2 else 1) for number, answer in answers.items())
    assert max(answer.json[0][1] for answer in answers.values()) > 2
    assert np.isfinite([answer.json[0][1] for answer in answers.values()]).all()
    assert KEYS[0] not in scorer.log.read_text()
