"""Clients that are slow, idle or excessive: they're shut out in time, and the others are served all along."""

import os
import re
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest
from forked_service import ForkedService
from machine_speed import at_least

from mlflow_amlstore.service import connection as connections
from mlflow_amlstore.service import server

resource = pytest.importorskip("resource")

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
MANY = 2000
LARGE = 100 * 1024 * 1024
IMPATIENT = """
import os
from mlflow_amlstore.service import connection, server
for name in ("HEADER_TIMEOUT_S", "STALLED_READER_TIMEOUT_S"):
    setattr(connection, name, float(os.environ.get(name, 3600)))
server.KEEP_ALIVE_S = float(os.environ.get("KEEP_ALIVE_S", 3600))
from mlflow_amlstore.cli import main
main()
"""


class ImpatientService(ForkedService):
    """A service that has one limit of time, a short one, where others have three."""

    command = ("-c", IMPATIENT)

    def __init__(self, folder: Path, limit: str) -> None:
        super().__init__(folder)
        self.limit_s = at_least(1, 2)
        self._limit = limit

    def _clean_environment(self) -> dict[str, str]:
        return {**super()._clean_environment(), self._limit: str(self.limit_s)}


@pytest.fixture
def impatient(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ImpatientService]:
    with ImpatientService(tmp_path / "impatient", request.param) as running:
        yield running


def with_limit(name: str) -> pytest.MarkDecorator:
    """For a test of that limit, over a service that has no other: what ends a connection is this one."""
    return pytest.mark.parametrize("impatient", [name], indirect=True)


def connect(service: ForkedService) -> socket.socket:
    url = urlsplit(service.url)
    connection = socket.create_connection((url.hostname, url.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """What comes until the service closes."""
    received = b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def request_ms(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(HEALTH)
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    return (time.perf_counter() - began) * 1000


class TestHeaders:
    @with_limit("HEADER_TIMEOUT_S")
    def test_one_that_comes_by_and_by_has_so_long_and_no_longer(self, impatient: ImpatientService) -> None:
        began = time.monotonic()
        with (
            connect(impatient) as dripping,
            connect(impatient) as silent,
            connect(impatient) as second,
            connect(impatient) as good,
        ):
            second.sendall(HEALTH)
            assert second.recv(1000).startswith(b"HTTP/1.1 200")
            dripping.sendall(b"GET /health HTTP/1.1\r\nHost: ")
            second.sendall(b"GET /health HTT")
            poll = select.poll()
            poll.register(dripping, select.POLLIN)
            while not poll.poll(impatient.limit_s * 100):
                dripping.sendall(b"x")
                request_ms(good)
            for connection in (dripping, second):
                assert answer_of(connection).startswith(b"HTTP/1.1 408 ")
            assert answer_of(silent) == b""
            assert time.monotonic() - began >= impatient.limit_s * 0.95
            request_ms(good)

    def test_one_that_is_late_but_whole_is_answered(self, service: ForkedService) -> None:
        with connect(service) as connection:
            for byte in HEALTH:
                connection.sendall(bytes([byte]))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            request_ms(connection)

    @pytest.mark.parametrize(
        "header",
        [
            b"GET /health HTTP/1.1\r\nX: " + b"a" * 66_000 + b"\r\n\r\n",
            b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: abc\r\n" % number for number in range(8000)) + b"\r\n",
            b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.1\r\nX: " + b"a" * 300_000,
            b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"".join(b"X-%d: abc\r\n" % number for number in range(8000)),
        ],
        ids=["one long field", "many fields", "a long path", "a field without an end", "trailers"],
    )
    def test_one_over_64_kib_is_refused(self, service: ForkedService, header: bytes) -> None:
        with connect(service) as connection:
            with suppress(OSError):  # it may be closed before all is sent
                connection.sendall(header)
            assert b"HTTP/1.1 431 " in answer_of(connection)

    def test_one_just_below_is_read(self, service: ForkedService) -> None:
        with connect(service) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65_000 + b"\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")

    def test_what_is_not_http_is_refused(self, service: ForkedService) -> None:
        for nonsense in (b"\x16\x03\x01\x02\x00", b"HELO\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 100):
            with connect(service) as connection:
                connection.sendall(nonsense)
                assert answer_of(connection).startswith(b"HTTP/1.1 400 ")

    def test_requests_sent_ahead_are_answered_in_turn(self, service: ForkedService) -> None:
        with connect(service) as connection:
            connection.sendall(HEALTH * 50)
            received = b""
            while received.count(b"HTTP/1.1 200") < 50:
                arrived = connection.recv(65_536)
                assert arrived, "the connection was closed"
                received += arrived


def test_the_limits_are_ten_seconds_a_minute_and_a_little_more() -> None:
    """In the tests that wait for them they are shorter."""
    assert connections.HEADER_TIMEOUT_S == 10
    assert connections.STALLED_READER_TIMEOUT_S == 60
    assert server.KEEP_ALIVE_S == 75


class TestOnAnImpatientService:
    @with_limit("KEEP_ALIVE_S")
    def test_an_idle_connection_is_closed(self, impatient: ImpatientService) -> None:
        with connect(impatient) as connection:
            request_ms(connection)
            time.sleep(impatient.limit_s * 0.6)
            request_ms(connection)
            began = time.monotonic()
            assert answer_of(connection) == b""
            assert time.monotonic() - began > impatient.limit_s * 0.8

    @with_limit("HEADER_TIMEOUT_S")
    def test_blank_lines_keep_nothing_open(self, impatient: ImpatientService) -> None:
        with connect(impatient) as connection:
            request_ms(connection)
            connection.sendall(b"\r\n")
            answer_of(connection)

    @with_limit("HEADER_TIMEOUT_S")
    def test_a_body_that_nobody_waits_for_keeps_nothing_open(self, impatient: ImpatientService) -> None:
        head = b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        with connect(impatient) as connection:
            connection.sendall(head)
            assert connection.recv(10_000).startswith(b"HTTP/1.1 401 ")
            with pytest.raises(OSError):  # noqa: PT011  # the kind depends on when it is noticed
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.02)

    @with_limit("STALLED_READER_TIMEOUT_S")
    def test_one_who_stops_reading_is_cut_off(self, impatient: ImpatientService) -> None:
        path = upload(impatient)
        with connect(impatient) as connection:
            connection.sendall(download_request(impatient, path))
            time.sleep(impatient.limit_s * 2.5)
            received = answer_of(connection)
        assert len(received) < LARGE
        with connect(impatient) as connection:
            request_ms(connection)


def upload(service: ForkedService) -> str:
    """Store a large file of zeros through MLflow's artifact proxy, and return its path there."""
    run = service.call("POST", "/api/2.0/mlflow/runs/create", service.token, {"experiment_id": "0"})
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run['run']['info']['run_id']}/artifacts/large-{uuid.uuid4().hex}"
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token}\r\n"
    with connect(service) as connection:
        connection.sendall(f"{head}Content-Length: {LARGE}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(LARGE // 1_048_576):
            connection.sendall(bytes(1_048_576))
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
    return path


def download_request(service: ForkedService, path: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode()


def size_mib(service: ForkedService) -> float:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 200:
        pytest.skip(f"this user may have {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")  # noqa: PTH110
def test_two_thousand_idle_connections_and_slow_readers_stop_nobody(
    start_service: Callable[..., ForkedService], capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints what others wait and what it costs in memory; the bars asserted are wide, since machines differ."""
    service = start_service("--log-level", "warning")
    path = upload(service)
    with ExitStack() as connections:
        other = connections.enter_context(connect(service))
        alone_ms = median(request_ms(other) for _ in range(200))
        before = size_mib(service)

        idle = []
        for _ in range(MANY):
            idle.append(connections.enter_context(connect(service)))
            request_ms(idle[-1])  # at once: one that sends nothing is closed after ten seconds
        slow = [connections.enter_context(connect(service)) for _ in range(3)]
        for connection in slow:
            connection.sendall(download_request(service, path))
        waits = [request_ms(other) for _ in range(200)]
        after = size_mib(service)
        for connection in idle[::100]:
            request_ms(connection)

        received = [0] * len(slow)

        def read_slowly(number: int) -> None:
            while chunk := slow[number].recv(1_048_576):
                received[number] += len(chunk)
                time.sleep(0.002)

        readers = [threading.Thread(target=read_slowly, args=(number,)) for number in range(len(slow))]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            waits.append(request_ms(other))
        for reader in readers:
            reader.join()
    with capsys.disabled():
        print(
            f"\n{MANY} idle connections and {len(slow)} slow readers: a request takes {median(waits):.2f} ms at the "
            f"median and {max(waits):.0f} ms at most, {alone_ms:.2f} ms alone; {after - before:.0f} MiB more"
        )
    assert min(received) > LARGE
    assert median(waits) < 100 * alone_ms
    assert after - before < 100
