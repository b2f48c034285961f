"""MLflow's clients on a workspace service: one for all tests of a module, each of which has its own experiment."""

import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from forked_service import ForkedService
from mlflow import MlflowClient

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, open_folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def workspace(service: ForkedService) -> Iterator[EmbeddedWorkspace]:
    """The service's workspace as its folder has it: the other door to the same records."""
    opened = open_folder(service.folder)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has its URI alone, and the developer's keys aren't seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("AMLSTORE_KEY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(service: ForkedService) -> Iterator[MlflowClient]:
    """A client of the service, which MLflow's fluent functions use too."""
    with mlflow_pointed_at(service.tracking_uri):
        yield MlflowClient()
    connection_of(service.tracking_uri).close()


@pytest.fixture
def experiment_id(client: MlflowClient) -> str:
    created: str = client.create_experiment(f"of a test {uuid.uuid4().hex}")
    return created


@pytest.fixture
def run_id(client: MlflowClient, experiment_id: str) -> str:
    created: str = client.create_run(experiment_id).info.run_id
    return created


class Network:
    """A TCP relay before a service that does what networks do. Cuts and changes count the bytes of all connections."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.sent_up = self.sent_down = 0
        self.cuts = 0
        self._cut_up_at: list[int] = []
        self._cut_down_at: list[int] = []
        self._change_up_at: list[int] = []
        self._change_down_at: list[int] = []
        self.is_down = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, uri: str) -> str:
        """A tracking URI of the service by way of this network."""
        return uri.replace(f":{self._target[1]}/", f":{self.port}/")

    def cut(self, *, up: Sequence[int] = (), down: Sequence[int] = ()) -> None:
        """Break the connection at these counts of bytes from now on."""
        with self._lock:
            self._cut_up_at = [self.sent_up + count for count in up]
            self._cut_down_at = [self.sent_down + count for count in down]

    def change(self, *, up: Sequence[int] = (), down: Sequence[int] = ()) -> None:
        """Change a byte at these counts of bytes from now on."""
        with self._lock:
            self._change_up_at = [self.sent_up + count for count in up]
            self._change_down_at = [self.sent_down + count for count in down]

    def close(self) -> None:
        self._listening.close()
        self._break_all()

    def go_down(self) -> None:
        """Break all connections, and refuse new ones until `is_down` is False again."""
        self.is_down = True
        self._break_all()

    def _break_all(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self.is_down:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open.add(one)
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._is_cut(len(data), is_up):
                    break
                sink.sendall(self._changed(data, is_up))
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            self._open.discard(one)

    def _is_cut(self, count: int, is_up: bool) -> bool:
        with self._lock:
            if is_up:
                self.sent_up += count
            else:
                self.sent_down += count
            sent, cuts = (self.sent_up, self._cut_up_at) if is_up else (self.sent_down, self._cut_down_at)
            if cuts and sent >= cuts[0]:
                del cuts[0]
                self.cuts += 1
                return True
            return False

    def _changed(self, data: bytes, is_up: bool) -> bytes:
        with self._lock:
            sent, places = (self.sent_up, self._change_up_at) if is_up else (self.sent_down, self._change_down_at)
            if not places or sent < places[0]:
                return data
            del places[0]
        return data[:-1] + bytes([data[-1] ^ 1])


@pytest.fixture
def network(service: ForkedService) -> Iterator[Network]:
    between = Network(int(service.url.rpartition(":")[2]))
    yield between
    between.close()
