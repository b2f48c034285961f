"""Requests that no good client sends: refused with a status and a sentence that tell why, and the service serves on."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from machine_speed import at_least

from mlflow_amlstore.service.app import ROUTES
from mlflow_amlstore.service.routing import MAX_JSON_BYTES, Area

if TYPE_CHECKING:
    from tests.service.conftest import Service

LOG_METRIC = "/api/2.0/mlflow/runs/log-metric"
LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"
CREATE = "/api/2.0/mlflow/experiments/create"
Send = Callable[..., "Answer"]


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


@cache
def silence_s() -> float:
    """How long nothing comes from a service that has no more to say."""
    return at_least(2.0, 2)


def exchange(service: "Service", *pieces: bytes, ends: bool = False) -> list[Answer]:
    """Send bytes on a connection of their own; return every answer until the service closes or falls silent.

    With `ends`, the client says that it won't send more.
    """
    url = urlsplit(service.url)
    received = b""
    with socket.create_connection((url.hostname, url.port), timeout=silence_s()) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was sent
        try:
            while more := connection.recv(65536):
                received += more
        except OSError:
            pass
    return list(answers_in(received))


def answers_in(received: bytes) -> Iterator[Answer]:
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else len(rest)
        yield Answer(int(head.split(b" ")[1]), rest[:size])
        received = rest[size:]


@pytest.fixture(scope="module")
def token(service: "Service") -> str:
    return service.exchange(service.key)


@pytest.fixture(scope="module")
def run_id(service: "Service", token: str) -> str:
    return str(
        service.call("POST", "/api/2.0/mlflow/runs/create", token, {"experiment_id": "0"})["run"]["info"]["run_id"]
    )


@pytest.fixture
def send(service: "Service", token: str) -> Send:
    """Send one request with a body of any kind."""

    def send(method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        (answer,) = exchange(service, request(service, token, method, path, body, **headers))
        return answer

    return send


def request(service: "Service", token: str, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    head = {
        "Host": urlsplit(service.url).netloc, "Authorization": f"Bearer {token}", "Content-Type": "application/json",
        "Content-Length": str(len(body)), "Connection": "close", **given,
    }  # fmt: skip
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@pytest.fixture(autouse=True)
def _nothing_is_written(service: "Service", token: str, run_id: str) -> Iterator[None]:
    """After whatever the test sends there are no more experiments and points than before, and the service is well."""

    def state() -> list[Any]:
        called = service.call("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}", token)
        experiments = service.call("POST", "/api/2.0/mlflow/experiments/search", token, {"max_results": 1000})
        return [called["run"]["data"], [one["name"] for one in experiments["experiments"]]]

    before = state()
    yield
    assert state() == before
    assert service.call("GET", "/health/ready", token) == {"status": "ready"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"run_id=1", "not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'"x"', "Expected `object`, got `str`"),
        (b'{"name": "a"} {"name": "b"}', "not JSON"),
        (b'{"name": NaN}', "not JSON"),
        (b'{"name": "\xff\xfe"}', "utf-8"),
        (b'{"name": "\xc0\xae"}', "utf-8"),
        (b'\xef\xbb\xbf{"name": "a"}', "not JSON"),
        ('{"name": "a"}'.encode("utf-16"), "not JSON"),
        (b'{"name": "a\x01"}', "not JSON"),
        (b'{"name": "\\ud800"}', "not JSON"),
        (b'{"name": "\\udc00\\ud800"}', "not JSON"),
        (b"\0" * 100, "not JSON"),
        (b"[" * 1_000_000, "nested too deeply|Expected `object`"),
        (b'{"x":' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
        (b'{"name": "a", "tags": ' + b"[" * 200_000, "nested too deeply|Expected `object`"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_not_the_json_of_an_object_is_refused(send: Send, body: bytes, says: str) -> None:
    answer = send("POST", CREATE, body)
    assert answer.status == 400, answer
    assert re.search(says, answer.message), answer.message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"key": None}, r"\$\.key"),
        ({"key": 5}, r"\$\.key"),
        ({"key": ["a"]}, r"\$\.key"),
        ({"key": ""}, r"\$\.key"),
        ({"value": "x"}, r"\$\.value"),
        ({"value": None}, r"\$\.value"),
        ({"value": {}}, r"\$\.value"),
        ({"timestamp": 1.5}, r"\$\.timestamp"),
        ({"timestamp": "now"}, r"\$\.timestamp"),
        ({"timestamp": 10**30}, "timestamp"),
        ({"timestamp": 2**63}, "timestamp"),
        ({"timestamp": -1}, "timestamp"),
        ({"step": 10**30}, "step"),
        ({"step": -(2**63) - 1}, "step"),
        ({"step": "1e3x"}, r"\$\.step"),
        ({"run_id": 7}, r"\$\.run_id"),
        ({"run_id": {"a": 1}}, r"\$\.run_id"),
    ],
    ids=str,
)
def test_a_field_of_a_wrong_type_or_size_is_named(send: Send, run_id: str, fields: dict[str, Any], named: str) -> None:
    body = {"run_id": run_id, "key": "m", "value": 1.0, "timestamp": 1, **fields}
    answer = send("POST", LOG_METRIC, json.dumps(body).encode())
    assert answer.status == 400, answer
    assert re.search(named, answer.message), answer.message


@pytest.mark.parametrize("missing", ["key", "value", "timestamp"])
def test_a_field_that_is_missing_is_named(send: Send, run_id: str, missing: str) -> None:
    body = {"run_id": run_id, "key": "m", "value": 1.0, "timestamp": 1}
    del body[missing]
    answer = send("POST", LOG_METRIC, json.dumps(body).encode())
    assert (answer.status, missing in answer.message) == (400, True), answer


def test_a_wrong_field_deep_in_a_list_is_named_with_its_place(send: Send, run_id: str) -> None:
    metrics = [{"key": "m", "value": 1.0, "timestamp": 1}, {"key": "m", "value": [], "timestamp": 1}]
    answer = send("POST", LOG_BATCH, json.dumps({"run_id": run_id, "metrics": metrics}).encode())
    assert (answer.status, "$.metrics[1].value" in answer.message) == (400, True), answer


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "0." + "0" * 400 + "1", "9" * 5000])
def test_a_number_of_any_size_is_no_failure(send: Send, number: str) -> None:
    body = f'{{"run_id": "no-such-run", "key": "m", "value": {number}, "timestamp": 1}}'
    assert send("POST", LOG_METRIC, body.encode()).status in (400, 404)


def test_of_a_field_that_is_given_twice_the_last_counts(send: Send) -> None:
    """As in protobuf's JSON, which is what MLflow's server reads."""
    body = b'{"experiment_id": "0", "name": "first", "name": "Default"}'
    assert send("POST", CREATE, body).message.startswith("Experiment 'Default' already exists")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx",
     "application/json/x", "text/html; application/json"],
)  # fmt: skip
def test_another_content_type_than_json_is_refused(send: Send, kind: str) -> None:
    """Which is also why no page in a browser can make one write without asking first."""
    answer = send("POST", CREATE, b'{"name": "x"}', Content_Type=kind)
    assert (answer.status, "Content-Type must be application/json" in answer.message) == (400, True), answer


def test_a_body_too_large_by_its_length_is_refused_before_it_is_sent(service: "Service", token: str) -> None:
    head = request(service, token, "POST", CREATE, Content_Length=str(MAX_JSON_BYTES + 1))
    (answer,) = exchange(service, head, b"{")
    assert (answer.status, str(MAX_JSON_BYTES) in answer.message) == (413, True)


@pytest.mark.parametrize("length", ["9" * 30, "9" * 19, "9" * 10_000], ids=len)
def test_an_absurd_length_is_refused(service: "Service", token: str, length: str) -> None:
    for answer in exchange(service, request(service, token, "POST", CREATE, Content_Length=length), b"{"):
        assert answer.status in (400, 413, 431)


def test_a_chunked_body_without_end_is_refused_when_it_is_too_large(service: "Service", token: str) -> None:
    head = request(service, token, "POST", CREATE, Content_Length="", Transfer_Encoding="chunked")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answers = exchange(service, head, *[chunk] * (MAX_JSON_BYTES // 0x100000 + 8))
    assert [answer.status for answer in answers][:1] in ([413], [])  # none where the refusal met what was on its way
    assert "PayloadTooLarge" not in service.log.read_text()


def test_a_body_that_ends_too_early_writes_nothing(service: "Service", token: str) -> None:
    body = b'{"name": "half"}'
    head = request(service, token, "POST", CREATE, body, Content_Length=str(len(body) + 5))
    assert all(answer.status == 400 for answer in exchange(service, head, ends=True))


def test_ten_thousand_query_fields_are_refused_and_ten_thousand_fields_of_json_are_not_taken_for_ours(
    send: Send,
) -> None:
    query = "&".join(f"a{number}=" for number in range(10_001))
    assert send("GET", f"/api/2.0/mlflow/runs/get?{query}").status in (400, 431)
    many = json.dumps({f"a{number}": number for number in range(10_000)}).encode()
    assert (answer := send("POST", CREATE, many)).status == 400
    assert "`name`" in answer.message


@pytest.mark.parametrize(
    "query",
    ["run_id=%ff", "run_id=%00", "run_id=%ED%A0%80", "run_id", "&&&=&", "run_id=a;b", "%", "run_id=" + "x" * 30_000],
    ids=lambda query: query[:20],
)  # fmt: skip
def test_a_query_of_any_kind_is_answered(send: Send, query: str) -> None:
    assert send("GET", f"/api/2.0/mlflow/runs/get?{query}").status in (400, 404)


@pytest.mark.parametrize("method", ["BREW", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "get", "G" * 5000])
def test_a_method_that_the_route_does_not_have_is_refused(service: "Service", token: str, method: str) -> None:
    for answer in exchange(service, request(service, token, method, CREATE, b'{"name": "x"}')):
        assert answer.status in (400, 404, 405), answer


def test_a_method_of_another_route_writes_nothing(send: Send) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert send(method, CREATE, b'{"name": "x"}').status == 404


def test_every_route_that_takes_json_refuses_what_is_none(send: Send, service: "Service") -> None:
    """Before anything else is looked at, so that it is the same everywhere."""
    plain = [
        route for route in ROUTES if route.body and route.method != "GET" and route.area in (Area.MLFLOW, Area.ROOT)
    ]
    for route in plain:
        path = re.sub(r"{[^}]+}", "x", route.path)
        for body in (b"{", b"[1]", b'{"a": NaN}'):
            answer = send(route.method, path, body)
            assert answer.status == 400, (route.method, path, answer)
            assert json.loads(answer.body)["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
