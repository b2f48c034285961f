"""A load generator for HTTP services: client processes that send prebuilt requests over kept-alive raw sockets.

    from load import post, run_load
    body = b'{"run_id": "0", "metrics": []}'
    request = post("127.0.0.1", 5000, "/api/2.0/mlflow/runs/log-batch", body)
    print(run_load("127.0.0.1", 5000, [[request]] * 16, seconds=3, warmup_s=0.5))

Clients usually share their cores with the server, so each does as little as it can: one send and one receive for a
request, no parsing beyond the status and Content-Length. Every client waits for an answer before its next request.
"""

import gc
import itertools
import multiprocessing
import socket
import struct
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

CLIENTS = 16
ANSWER_TIMEOUT_S = 30
START_TIMEOUT_S = 60
RETRY_PAUSE_S = 0.01

Requests = Sequence[Sequence[bytes]] | Callable[[int, int], bytes]

# Not "spawn": it would pickle every prebuilt request and could not take a closure. Forked clients only use sockets.
processes = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Load:
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int


class Connected:
    """One kept-alive connection, opened again when the server closes it."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self.address, ANSWER_TIMEOUT_S)
        # A timeout of Python's own would poll before each receive; the kernel's costs nothing.
        self.socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", ANSWER_TIMEOUT_S, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answered_200(self, request: bytes) -> bool:
        """Send a request and read its whole answer; OSError when the connection breaks."""
        self.socket.sendall(request)
        answer = self.receive()
        while (head_end := answer.find(b"\r\n\r\n")) < 0:
            answer += self.receive()
        head = answer[:head_end].lower()
        _, named, length = head.partition(b"\r\ncontent-length:")
        if not named:
            raise ConnectionError(f"an answer without Content-Length: {head!r}")
        missing = head_end + 4 + int(length.partition(b"\r\n")[0]) - len(answer)
        while missing > 0:
            missing -= len(self.receive())
        if b"\r\nconnection: close" in head:
            self.socket.close()
            self.open()
        return head[9:12] == b"200"

    def receive(self) -> bytes:
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection before it answered")
        return received

    def open_again(self) -> None:
        self.socket.close()
        time.sleep(RETRY_PAUSE_S)
        try:
            self.open()
        except OSError:
            return  # the next request fails on the closed socket and comes here again


def post(host: str, port: int, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP/1.1 POST in one bytes object; the headers given are added to Host, Content-Type and Content-Length."""
    own = {"Host": f"{host}:{port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**own, **(headers or {})}.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def client_requests(request_of: Requests, client: int) -> Callable[[], bytes]:
    if callable(request_of):
        counter = itertools.count()
        return lambda: request_of(client, next(counter))
    return itertools.cycle(request_of[client]).__next__


def client_main(
    address: tuple[str, int],
    next_request: Callable[[], bytes],
    start: Callable[[], float],
    seconds: float,
    warmup_s: float,
    results: Connection,
) -> None:
    """Connect, start with the others, and send the latencies in seconds and the number of errors."""
    connection = Connected(*address)
    latencies = array("d")
    errors = 0
    gc.disable()
    begin = start() + warmup_s
    end = begin + seconds
    while True:
        request = next_request()
        sent = time.perf_counter()
        if sent >= end:
            break
        try:
            correct = connection.answered_200(request)
        except OSError:
            correct = False
            connection.open_again()
        if not correct:
            errors += 1
        elif sent >= begin:  # requests count where they start, so one that outlasts the end isn't lost
            latencies.append(time.perf_counter() - sent)
    results.send((latencies.tobytes(), errors))


def percentile_ms(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


def run_load(
    host: str, port: int, request_of: Requests, seconds: float, warmup_s: float = 0.5, clients: int = CLIENTS
) -> Load:
    """Load a service for `seconds` after a warm-up.

    `request_of` has one list of prebuilt requests for each client, which the client cycles through, or is a function of
    the client's index and its request counter, called by `clients` processes outside the measured time. Call this
    from a process without other threads, since it forks. `errors` counts the warm-up's too; latencies and
    requests/s are of requests answered with 200.
    """
    if not callable(request_of):
        clients = len(request_of)
    started = processes.Value("d", 0.0, lock=False)

    def note_start() -> None:
        started.value = time.perf_counter()

    # perf_counter is the same clock in all processes, so one of them can set the start for all.
    barrier = processes.Barrier(clients, action=note_start, timeout=START_TIMEOUT_S)

    def start() -> float:
        barrier.wait()
        return float(started.value)

    running, receivers = [], []
    for client in range(clients):
        receiver, sender = processes.Pipe(duplex=False)
        arguments = ((host, port), client_requests(request_of, client), start, seconds, warmup_s, sender)
        process = processes.Process(target=client_main, args=arguments, daemon=True)
        process.start()
        sender.close()
        running.append(process)
        receivers.append(receiver)
    latencies, errors = array("d"), 0
    try:
        for receiver in receivers:
            client_latencies, client_errors = receiver.recv()
            latencies.frombytes(client_latencies)
            errors += client_errors
    except EOFError:
        raise RuntimeError("a client process ended without a result; its error is above") from None
    finally:
        for process in running:
            process.join(timeout=1)
            process.terminate()
    ordered = sorted(latencies)
    return Load(
        requests_per_s=len(ordered) / seconds,
        p50_ms=percentile_ms(ordered, 0.5),
        p99_ms=percentile_ms(ordered, 0.99),
        requests=len(ordered),
        errors=errors,
    )
