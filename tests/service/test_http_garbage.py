"""What is not quite HTTP, or two requests that look like one: refused, and nothing is smuggled past."""

import socket
import struct
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from machine_speed import at_least

if TYPE_CHECKING:
    from tests.service.conftest import Service

SMUGGLED = b"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\n"


@cache
def silence_s() -> float:
    """How long nothing comes from a service that has no more to say."""
    return at_least(0.5, 1)


def statuses(service: "Service", sent: bytes) -> list[int]:
    """The statuses of what the service answers on a connection of its own."""
    url = urlsplit(service.url)
    received = b""
    with socket.create_connection((url.hostname, url.port), timeout=silence_s()) as connection:
        try:
            connection.sendall(sent)
            while more := connection.recv(65536):
                received += more
        except OSError:
            pass  # it closed at once, or waits for more
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
def head(service: "Service") -> bytes:
    """The headers that a good request has."""
    url = urlsplit(service.url)
    token = service.exchange(service.key)
    return f"Host: {url.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n".encode()


def experiments(service: "Service") -> list[str]:
    found = service.call(
        "POST", "/api/2.0/mlflow/experiments/search", service.exchange(service.key), {"max_results": 1000}
    )
    return [experiment["name"] for experiment in found["experiments"]]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 1000,
        b"\xff" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(20_000)) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ],
    ids=lambda garbage: repr(garbage[:40]),
)
def test_garbage_is_refused_and_the_service_serves_on(service: "Service", garbage: bytes) -> None:
    assert set(statuses(service, garbage)) <= {400, 403, 404, 413, 431}
    assert service.call("GET", "/health/ready", service.exchange(service.key)) == {"status": "ready"}


def test_a_connection_that_is_reset_in_the_middle_harms_nobody(service: "Service", head: bytes) -> None:
    url = urlsplit(service.url)
    for _ in range(50):
        connection = socket.create_connection((url.hostname, url.port))
        connection.sendall(SMUGGLED + head + b"Content-Length: 100\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert experiments(service) == ["Default"]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: xchunked\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked, identity\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding : chunked\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding:\x0bchunked\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n",
        b"Content-Length: %d\r\nContent-Length: 0\r\n",
        b"Content-Length: 0, %d\r\n",
        b"Content-Length: +%d\r\n",
        b"Content-Length: 0x%x\r\n",
        b"Content-Length: %d\n",
    ],
    ids=repr,
)
def test_a_second_request_hidden_in_the_first_ones_body_is_never_made(
    service: "Service", head: bytes, framing: bytes
) -> None:
    """Where two readers could disagree on where a body ends, the request is refused, or all of it is the body."""
    body = b'{"name": "smuggled"}'
    hidden = SMUGGLED + head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    content = b"0\r\n\r\n" + hidden
    outer = b"POST /api/2.0/mlflow/experiments/search HTTP/1.1\r\n" + head + framing % len(content) + b"\r\n" + content

    answered = statuses(service, outer)

    assert "smuggled" not in experiments(service)
    assert len(answered) <= 1
    assert set(answered) <= {400, 403}


GET = b"GET /api/2.0/mlflow/experiments/get?experiment_id=0 HTTP/1.1\r\n"


def test_two_hosts_are_no_way_around_the_check_of_the_host(service: "Service", head: bytes) -> None:
    for hosts in (b"Host: evil.example\r\n" + head, head + b"Host: evil.example\r\n"):
        answered = statuses(
            service, b"GET /api/2.0/mlflow/experiments/get?experiment_id=0 HTTP/1.1\r\n" + hosts + b"\r\n"
        )
        assert set(answered) <= {400, 403}


def test_what_a_header_says_twice_is_not_guessed_at(service: "Service", head: bytes) -> None:
    for more in (b"Authorization: Bearer x\r\n", b"Content-Type: text/plain\r\n", b"Origin: null\r\nOrigin: null\r\n"):
        assert statuses(service, GET + head + more + b"\r\n") == [400]
    assert statuses(service, GET + head + b"X-Any: 1\r\nX-Any: 2\r\n\r\n") == [200]
