"""Calls of a service over a network that isn't good: what is tried again, what is not, and what an error says."""

import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fork_server import run_forked
from machine_speed import at_least

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.http import backoff, service_call
from mlflow_amlstore.errors import InvalidValue, ServiceError, ServiceUnreachable, TokenRefused, TrackingUriInvalid

Connect = Callable[..., Connection]


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds for a call instead of two minutes."""
    monkeypatch.setattr(backoff.Backoff.__init__, "__defaults__", (2.0,))


class TestOneConnection:
    def test_building_takes_no_network(self, service: Any, connect: Connect) -> None:
        connection = connect()
        time.sleep(0.1)
        assert service.seen == []
        assert connection.service_url == service.url
        assert (
            connection_of("azureml://no-such-host.example/mlflow/v2.0/x").service_url == "https://no-such-host.example"
        )

    def test_uris_that_differ_in_expires_and_token_are_one(self, service: Any, connect: Connect) -> None:
        first = connect()
        assert connect(service.root) is first
        assert connect(f"{service.root}?expires=2026-01-31T13:00:00Z&token=x") is first
        assert connect(service.root.replace("/W", "/other")) is not first

    def test_the_newer_token_is_used_whichever_came_first(self, service: Any, connect: Connect) -> None:
        old, _ = service.issue()
        time.sleep(0.01)
        new, _ = service.issue()
        connection = connect(service.uri(old))
        assert connection.token() == old
        connect(service.uri(new))
        assert connection.token() == new
        connect(service.uri(old))
        assert connection.token() == new

    def test_what_names_no_service_is_refused(self) -> None:
        with pytest.raises(TrackingUriInvalid, match="names a folder, and no service"):
            connection_of("amlstore:///folder")
        with pytest.raises(TrackingUriInvalid, match="for this machine only"):
            connection_of("azureml+http://far.example/mlflow/v2.0/x?token=secret")

    def test_a_closed_connection_wakes_up_when_it_is_used(self, connect: Connect) -> None:
        first = connect()
        first.close()
        assert connect() is first
        assert first.request("GET", "/api/a") == {"path": "/api/a"}


class TestAnswers:
    def test_a_call_carries_the_token_and_its_fields(self, service: Any, connect: Connect) -> None:
        connection = connect()
        assert connection.request("GET", "/api/a", params={"a": "b c", "on": True, "no": None, "many": [1, 2]}) == {
            "path": "/api/a?a=b+c&on=true&many=1&many=2"
        }
        connection.request("POST", "/api/b", json={"value": 0.5})
        get, post = service.calls
        assert get.bearer == post.bearer == connection.token()
        assert (json.loads(post.body), post.headers["Content-Type"]) == ({"value": 0.5}, "application/json")

    def test_an_empty_answer_is_an_empty_object(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.append(fault.answers(200, b""))
        assert connect().request("POST", "/api/a") == {}

    def test_a_refusal_is_raised_with_the_services_code_and_sentence(
        self, service: Any, connect: Connect, fault: Any
    ) -> None:
        body = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run 'x' not found"}
        service.faults.append(fault.answers(404, body))
        with pytest.raises(ServiceError, match=r"^Run 'x' not found$") as raised:
            connect().request("GET", "/api/a")
        assert (raised.value.mlflow_code, raised.value.http_status) == ("RESOURCE_DOES_NOT_EXIST", 404)
        assert len(service.calls) == 1

    def test_a_refusal_in_azures_shape_is_read_too(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.append(fault.answers(404, {"error": {"code": "UserError", "message": "no such file"}}))
        with pytest.raises(ServiceError, match=r"^no such file$") as raised:
            connect().request("GET", "/api/a")
        assert raised.value.mlflow_code == "ENDPOINT_NOT_FOUND"

    def test_a_code_of_somebody_elses_becomes_internal_error(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.append(fault.answers(418, {"error_code": "TEAPOT", "message": "short and stout"}))
        with pytest.raises(ServiceError, match="short and stout") as raised:
            connect().request("GET", "/api/a")
        assert (raised.value.error_code, raised.value.mlflow_code) == ("TEAPOT", "INTERNAL_ERROR")

    @pytest.mark.parametrize(
        ("status", "body", "headers", "problem"),
        [
            (200, b"<html>Sign in</html>", {"Content_Type": "text/html"}, "it answered 200 with text/html where JSON"),
            (403, b"<html>No</html>", {"Content_Type": "text/html"}, "it answered 403 with text/html where JSON"),
            (302, b"", {"Location": "https://evil.example/"}, "it answered 302, a redirect, which is not followed"),
        ],
    )
    def test_what_isnt_the_services_answer_is_said_so(
        self,
        service: Any,
        connect: Connect,
        fault: Any,
        status: int,
        body: bytes,
        headers: dict[str, str],
        problem: str,
    ) -> None:
        service.faults.append(fault.answers(status, body, **headers))
        with pytest.raises(ServiceUnreachable, match=problem):
            connect().request("GET", "/api/a")
        assert len(service.calls) == 1

    def test_a_body_that_json_cant_hold_is_refused_here(self, service: Any, connect: Connect) -> None:
        connection = connect()
        for body in ({"value": float("nan")}, {"value": object()}):
            with pytest.raises(InvalidValue, match="must be what JSON can hold"):
                connection.request("POST", "/api/a", json=body)
        assert service.calls == []


class TestTryingAgain:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_passing_troubles(self, service: Any, connect: Connect, fault: Any, status: int) -> None:
        service.faults.extend([fault.answers(status), fault.answers(status)])
        assert connect().request("POST", "/api/a", json={}) == {"applied": 1}
        assert len(service.calls) == 3

    @pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 501, 507])
    def test_lasting_troubles_are_not(self, service: Any, connect: Connect, fault: Any, status: int) -> None:
        service.faults.append(fault.answers(status, {"error_code": "BAD_REQUEST", "message": "no"}))
        with pytest.raises(ServiceError) as raised:
            connect().request("POST", "/api/a", json={})
        assert (raised.value.http_status, len(service.calls)) == (status, 1)

    def test_a_500_that_the_service_means_is_not(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.append(fault.answers(500, {"error_code": "INVALID_STATE", "message": "it is deleted"}))
        with pytest.raises(ServiceError, match="it is deleted"):
            connect().request("POST", "/api/a", json={})
        assert len(service.calls) == 1

    def test_a_fault_in_the_service_is_for_a_few_seconds(self, service: Any, connect: Connect, fault: Any) -> None:
        body = {"error_code": "INTERNAL_ERROR", "message": "The service failed"}
        service.faults.extend([fault.answers(500, body)] * 100)
        began = time.monotonic()
        with pytest.raises(ServiceError, match="The service failed"):
            connect().request("POST", "/api/a", json={})
        assert len(service.calls) == 6
        assert time.monotonic() - began < backoff.RETRY_FOR_S / 4

    def test_a_write_whose_answer_was_lost_is_applied_once(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.extend([fault.applies_then_breaks, fault.breaks, fault.answers(503)])
        assert connect().request("POST", "/api/a", json={"value": 1}) == {"applied": 1}
        assert service.applied == [("/api/a", {"value": 1})]
        ids = {(call.headers["X-Request-Id"], call.headers["Idempotency-Key"]) for call in service.calls}
        assert len(service.calls) == 4
        assert len(ids) == 1

    def test_each_call_has_an_id_of_its_own(self, service: Any, connect: Connect) -> None:
        connection = connect()
        for _ in range(3):
            connection.request("POST", "/api/a", json={})
        assert len({call.headers["X-Request-Id"] for call in service.calls}) == 3

    def test_retry_after_is_kept(self, service: Any, connect: Connect, fault: Any) -> None:
        service.faults.append(fault.answers(429, b"", Retry_After="1"))
        began = time.monotonic()
        connect().request("POST", "/api/a", json={})
        assert 1 <= time.monotonic() - began < backoff.LONGEST_RETRY_AFTER_S / 2

    def test_retry_after_as_a_time_is_by_the_other_sides_clock(self) -> None:
        headers = {"Retry-After": "Fri, 31 Jan 2020 12:00:30 GMT", "Date": "Fri, 31 Jan 2020 12:00:20 GMT"}
        assert backoff.retry_after_s(headers) == 10
        assert backoff.retry_after_s({"Retry-After": "soon"}) is None
        assert backoff.retry_after_s({}) is None

    def test_a_service_that_comes_back_is_waited_for(
        self, service: Any, connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert backoff._SILENT_S == 5
        monkeypatch.setattr(backoff, "_SILENT_S", 1.0)
        connection = connect()
        connection.request("POST", "/api/a", json={"n": 1})
        service.stop()
        comes_back = threading.Timer(1.5, service.start)
        comes_back.start()
        assert connection.request("POST", "/api/a", json={"n": 2}) == {"applied": 2}
        comes_back.join()
        assert f"The workspace service {service.url}: connection refused. Trying again for up to 1" in caplog.text

    @pytest.mark.usefixtures("little_patience")
    def test_one_that_doesnt_is_given_up_with_a_short_word(self, service: Any, connect: Connect) -> None:
        connection = connect()
        service.stop()
        with pytest.raises(ServiceUnreachable, match=rf"{service.url} can't be reached: connection refused"):
            connection.request("POST", "/api/a", json={})

    @pytest.mark.usefixtures("little_patience")
    def test_what_the_service_said_last_is_raised(self, service: Any, connect: Connect, fault: Any) -> None:
        body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "Another process has held the write lock"}
        service.faults.extend([fault.answers(503, body)] * 1000)
        with pytest.raises(ServiceError, match="Another process has held the write lock"):
            connect().request("POST", "/api/a", json={})

    def test_mlflows_number_of_retries_holds(
        self, service: Any, connect: Connect, fault: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        service.faults.extend([fault.answers(503)] * 10)
        with pytest.raises(ServiceUnreachable):
            connect().request("POST", "/api/a", json={})
        assert len(service.calls) == 3

    def test_mlflows_timeout_holds(
        self, service: Any, connect: Connect, fault: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        timeout_s = at_least(0.3, 1)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout_s))
        service.faults.append(fault.takes(timeout_s * 7))
        assert connect().request("POST", "/api/a", json={}) == {"applied": 1}
        assert len(service.calls) == 2

    def test_connections_are_kept_alive_and_many_threads_share_them(self, service: Any, connect: Connect) -> None:
        connection = connect()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: connection.request("POST", "/api/a", json={"n": n}), range(400)))
        assert sorted(body["n"] for _, body in service.applied) == list(range(400))
        assert len(service._server._connections) <= 16


class TestOtherProcesses:
    def test_a_pickled_connection_is_the_same_here_and_works_elsewhere(self, service: Any, connect: Connect) -> None:
        connection = connect()
        assert pickle.loads(pickle.dumps(connection)) is connection
        script = f"import pickle; print(pickle.loads({pickle.dumps(connection)!r}).request('GET', '/api/elsewhere'))"
        assert "/api/elsewhere" in run_forked(["-c", script], check=True).stdout

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
    def test_forked_children_have_connections_of_their_own(self, service: Any, connect: Connect) -> None:
        connection = connect()
        connection.request("POST", "/api/a", json={"from": "parent"})
        children = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    for _ in range(20):
                        connection.request("POST", "/api/a", json={"from": number})
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        for _ in range(20):
            connection.request("POST", "/api/a", json={"from": "parent"})
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        assert len(service.applied) == 81

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
    def test_a_fork_in_the_middle_of_calls_doesnt_hang_the_child(self, service: Any, connect: Connect) -> None:
        connection = connect()
        is_over = threading.Event()

        def call_on() -> None:
            while not is_over.is_set():
                connection.request("POST", "/api/a", json={})

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(call_on)
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    try:
                        connection.request("POST", "/api/child", json={})
                        os._exit(0)
                    finally:
                        os._exit(1)
                assert os.waitpid(pid, 0)[1] == 0
            is_over.set()
        assert len(service.requests_to("/api/child")) == 5


def test_errors_and_reprs_have_no_token(service: Any, connect: Connect, fault: Any) -> None:
    connection = connect()
    token = connection.token()
    message = f"token={token} and Bearer {token} and sig=abc%2Bdef&x=1"
    service.faults.append(fault.answers(400, {"error_code": "BAD_REQUEST", "message": message}))
    with pytest.raises(ServiceError) as raised:
        connection.request("POST", "/api/a", json={})
    assert str(raised.value) == "token=REDACTED and Bearer REDACTED and sig=REDACTED&x=1"
    assert token not in repr(connection) + repr(connection._token) + repr(connection._token.uri())


def test_urllib3s_debug_lines_have_no_signature(
    service: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "urllib3")
    connect().request("GET", "/api/a", params={"sig": "c2VjcmV0", "x": 1})
    assert "sig=REDACTED&x=1" in caplog.text
    assert "c2VjcmV0" not in caplog.text


def test_a_refusal_without_a_sentence_is_still_one(service: Any, connect: Connect, fault: Any) -> None:
    service.faults.extend([fault.answers(401), fault.answers(401)])
    with pytest.raises(TokenRefused, match=r"^it answered 401\. Get a fresh tracking URI"):
        connect().request("GET", "/api/a")
    assert service_call.BearerRefused("x").problem == "x"
