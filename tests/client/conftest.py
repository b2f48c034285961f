"""A small real HTTP server that knows a service's authentication routes and can misbehave on request."""

import base64
import json
import os
import socket
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.errors import TokenRefused

WORKSPACE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"
KEY = "a-key-that-nobody-may-see"


class Seen(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def bearer(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


Fault = Callable[["_Handler"], None]


class SmallService:
    """What the tests steer: how long tokens live, what goes wrong next, and what has arrived."""

    def __init__(self) -> None:
        self.lifetime_s = 3600.0
        self.clock_skew_s = 0.0  # how much later it is here than at the client
        self.keys = {KEY}
        self.faults: deque[Fault] = deque()  # one for each request of the API, from now on
        self.auth_faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.applied: list[tuple[str, Any]] = []
        self._ends: dict[str, float] = {}
        self._answers: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def root(self) -> str:
        return f"azureml+http://127.0.0.1:{self.port}/mlflow/v2.0{WORKSPACE}"

    def uri(self, token: str | None = None) -> str:
        return f"{self.root}?token={token or self.issue()[0]}"

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.service = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and break off the connections that there are."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.break_connections()
            self._server = None

    def issue(self, lifetime_s: float | None = None) -> tuple[str, float]:
        """A token, and the seconds until it ends."""
        lifetime_s = self.lifetime_s if lifetime_s is None else lifetime_s
        now = time.time() + self.clock_skew_s
        claims = {"iat": now, "exp": now + lifetime_s, "jti": uuid.uuid4().hex}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        token = f"e30.{body}.c2lnbmF0dXJl"
        with self._lock:
            self._ends[token] = time.monotonic() + lifetime_s
        return token, lifetime_s

    def revoke_all(self) -> None:
        """No token or key is good any more."""
        with self._lock:
            self._ends.clear()
            self.keys.clear()

    def is_good(self, token: str) -> bool:
        with self._lock:
            return self._ends.get(token, 0.0) > time.monotonic()

    def requests_to(self, part: str) -> list[Seen]:
        return [request for request in list(self.seen) if part in request.path]

    @property
    def renewals(self) -> list[Seen]:
        return self.requests_to("/auth/tracking-token")

    @property
    def calls(self) -> list[Seen]:
        return self.requests_to("/api/")

    def apply_once(self, request: Seen) -> bytes:
        """Answer a write, and answer it as before when it comes again under its id."""
        request_id = request.headers["Idempotency-Key"]
        with self._lock:
            if request_id not in self._answers:
                self.applied.append((request.path, json.loads(request.body or b"{}")))
                self._answers[request_id] = json.dumps({"applied": len(self.applied)}).encode()
            return self._answers[request_id]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    service: SmallService

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def break_connections(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what the tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Seen(self.command, self.path, dict(self.headers), body)
        service = self.server.service
        service.seen.append(request)
        faults = service.auth_faults if request.path.startswith("/auth/") else service.faults
        if faults and request.path != "/discovery":
            faults.popleft()(self)
        elif request.path == "/discovery":
            self.answer(200, _discovery(service))
        elif request.path == "/auth/token":
            if request.bearer in service.keys:
                token, left = service.issue()
                self.answer(200, {"token": token, "expires_in": left, "role": "contributor"})
            else:
                self.refuse("The key is not one of this workspace's, or was revoked")
        elif not service.is_good(request.bearer):
            self.refuse("The tracking URI expired at 2026-01-31T13:00:00Z")
        elif request.path == "/auth/tracking-token":
            token, left = service.issue()
            self.answer(200, {"token": token, "expires_in": left, "expires": "2026-01-31T13:00:00Z"})
        elif request.method == "GET":
            self.answer(200, {"path": request.path})
        else:
            self.answer(200, service.apply_once(request))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Type": "application/json", **given}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, problem: str) -> None:
        self.answer(401, {"error_code": "UNAUTHENTICATED", "message": str(TokenRefused(problem))})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _discovery(service: SmallService) -> dict[str, str]:
    return {
        "workspaceName": "W",
        "workspaceId": "id-of-w",
        "subscriptionId": "S",
        "resourceGroup": "G",
        "location": "local",
        "trackingRoot": f"azureml://elsewhere.example/mlflow/v2.0{WORKSPACE}",
    }


# What can go wrong with one request


def answers(status: int, body: Any = b"", **headers: str) -> Fault:
    """Answer with this instead."""
    return lambda handler: handler.answer(status, body, **headers)


def breaks_before_answering(handler: _Handler) -> None:
    """Reset the connection before the request is looked at."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def applies_then_breaks(handler: _Handler) -> None:
    """Do what was asked, and lose the answer on the way."""
    service = handler.server.service
    service.apply_once(service.seen[-1])
    breaks_before_answering(handler)


def takes(seconds: float) -> Fault:
    """Answer late."""

    def wait(handler: _Handler) -> None:
        time.sleep(seconds)
        handler.answer(200, {})

    return wait


class Faults(NamedTuple):
    """The faults, for tests to put into a queue."""

    answers: Callable[..., Fault] = answers
    breaks: Fault = breaks_before_answering
    applies_then_breaks: Fault = applies_then_breaks
    takes: Callable[[float], Fault] = takes


@pytest.fixture
def fault() -> Faults:
    return Faults()


@pytest.fixture
def service() -> Iterator[SmallService]:
    started = SmallService()
    yield started
    started.stop()


@pytest.fixture
def connect(service: SmallService) -> Iterator[Callable[..., Connection]]:
    """Makes connections to the service, which end with the test."""
    made = []

    def make(uri: str | None = None, credential: Any = None) -> Connection:
        made.append(connection_of(uri or service.uri(), credential))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture(autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without keys, and a keyring that keeps none."""
    home = tmp_path_factory.mktemp("home")
    have_no_key(monkeypatch, home)
    return home


def have_no_key(environment: pytest.MonkeyPatch, home: Path) -> None:
    """Make it the environment of somebody who has no key, and undo later what renewals write into it."""
    for name in ("AMLSTORE_KEY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        environment.delenv(name, raising=False)
    environment.setenv("HOME", str(home))
    environment.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        environment.setenv(name, os.environ.get(name, ""))
        environment.delenv(name)
