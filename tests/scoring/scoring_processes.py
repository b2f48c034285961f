"""Served folders of real models, and the processes that serve them, as a host would start them."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

KEYS = ("first-key", "second-key")
DEADLINE_S = 120.0
"""Longer than anything here takes on a loaded machine."""
MODEL = {"endpoint": "diabetes", "number": 1, "model_name": "diabetes_model", "model_version": 3}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def hashes(*keys: str) -> str:
    return json.dumps({"sha256": [hashlib.sha256(key.encode()).hexdigest() for key in keys]})


def served_folder(folder: Path, **deployment: Any) -> Path:
    """Write what whoever deploys writes."""
    folder.mkdir(exist_ok=True, parents=True)
    about = {**MODEL, "framework": "ScikitLearn", "model": "model.skops", **deployment}
    (folder / "deployment.json").write_text(json.dumps(about))
    (folder / "keys.json").write_text(hashes(*KEYS))
    return folder


class Scorer:
    """A scoring process and what it tells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self._unread = b""
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self._reader, writer = os.pipe()
        command = [sys.executable, "-m", "mlflow_amlstore.scoring", str(folder)]
        options = ["--socket-fd", str(listening.fileno()), "--events-fd", str(writer)]
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, pass_fds=(listening.fileno(), writer)
            )
        os.close(writer)
        listening.close()

    def wait_for(self, *names: str) -> dict[str, Any]:
        """The next event of one of these names. Fails where the process ends without it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                self.events.append(json.loads(line))
                if self.events[-1]["event"] in names:
                    return self.events[-1]
            chunk = os.read(self._reader, 65536)
            assert chunk, f"it ended before {names}: {self.events}\n{self.log.read_text()}"
            self._unread += chunk
        raise AssertionError(f"no {names} in time: {self.events}")

    def healthy(self) -> "Scorer":
        event = self.wait_for("healthy", "failed")
        assert event["event"] == "healthy", event
        return self

    def failed(self) -> dict[str, Any]:
        event = self.wait_for("failed", "healthy")
        assert event["event"] == "failed"
        assert self.process.wait(DEADLINE_S) == 1
        return event

    def workers(self) -> list[int]:
        """The processes that answer: the loader's children."""
        (loader,) = _children(self.process.pid)
        return _children(loader)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        key: str | None = KEYS[0],
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """One request; a body that is no bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {} if key is None else {"Authorization": f"Bearer {key}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        used = connection or self.connection()
        used.request(method or ("GET" if body is None else "POST"), path, content, sent)
        answer = used.getresponse()
        got = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        if connection is None:
            used.close()
        return got

    def score(self, body: Any, **more: Any) -> Answer:
        return self.ask("/score", body, **more)

    def refused(self, body: Any, status: int = 400, path: str = "/score") -> str:
        """What is said of a request that isn't taken."""
        answer = self.ask(path, body)
        assert answer.status == status, answer.body
        assert b"Traceback" not in answer.body
        said = answer.json
        return str(said.get("message") or said["error"])

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        os.close(self._reader)
        return code


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def scoring(folder: Path) -> Iterator[Scorer]:
    scorer = Scorer(folder)
    try:
        yield scorer
    finally:
        scorer.end()


Serve = Callable[..., Scorer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start scorers of folders that a test has made; they end with it."""
    started: list[Scorer] = []

    def start(fitted: Any = None, /, **deployment: Any) -> Scorer:
        folder = served_folder(tmp_path / f"served-{len(started)}", **deployment)
        if fitted is not None:
            save(fitted, folder / deployment.get("model", "model.skops"))
        started.append(Scorer(folder))
        return started[-1]

    yield start
    for scorer in started:
        scorer.end()


def save(model: Any, path: Path) -> None:
    """A model as skops or, by the file's name, as a pickle that needs no module of the tests."""
    if path.suffix == ".skops":
        import skops.io

        skops.io.dump(model, path)
    else:
        import cloudpickle

        module = type(model).__module__
        if not module.startswith("sklearn."):
            cloudpickle.register_pickle_by_value(sys.modules[module])
        path.write_bytes(cloudpickle.dumps(model))
