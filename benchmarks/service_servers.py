"""The servers that `service.py` measures, each started on a free port of this machine as its users would start it.

    with running("amlstore", Path("some/new/folder")) as server:
        print(server.url, server.first_answer_s, memory_mb(server))
    kept = KeptServers(Path("some/new/folder"))
    with kept, kept.running("amlstore", Path()) as server:
        print(server.url)

amlstore         `amlstore serve`, with its default logging
mlflow           `mlflow server`, 1 worker, SQLite and a folder for the files
mlflow default   the same with MLflow's default number of workers
floor            uvicorn with an app that only parses what it's sent (`servers.py`'s)
files            a plain file server: PUT writes a file, GET sends it
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from servers import JSON_HEADERS, asgi_app, cpu_s, parse_typed, process_tree, pss_mb
from service_table import note

HOST = "127.0.0.1"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
QUIET_S = 0.5
QUIET_WINDOWS = 3
QUIET_TIMEOUT_S = 60
COPY_BYTES = 1 << 20

Start = Callable[[str, Path], AbstractContextManager["Running"]]
"""Gives the server of a name for one turn: a new one over the folder, or one that is kept."""

AMLSTORE = str(Path(sysconfig.get_path("scripts"), "amlstore"))

# What MLflow's client must be told to have an active run; everything else is answered with {}.
FLOOR_RUN = {
    "info": {
        "run_id": "0123456789abcdef0123456789abcdef",
        "run_uuid": "0123456789abcdef0123456789abcdef",
        "run_name": "floor",
        "experiment_id": "0",
        "user_id": "",
        "status": "RUNNING",
        "start_time": 1_800_000_000_000,
        "artifact_uri": "mlflow-artifacts:/0",
        "lifecycle_stage": "active",
    },
    "data": {},
}
FLOOR_ANSWERS = {
    "/health": {},
    "/api/2.0/mlflow/runs/create": {"run": FLOOR_RUN},
    "/api/2.0/mlflow/runs/get": {"run": FLOOR_RUN},
    "/api/2.0/mlflow/runs/update": {"run_info": FLOOR_RUN["info"]},
}


@dataclass(frozen=True)
class Running:
    """A server that answers. `tracking_uri` is for the plugin and has the token; where there are none they're empty."""

    name: str
    pid: int
    port: int
    first_answer_s: float
    environment: dict[str, str]
    token: str = ""
    tracking_uri: str = ""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Api:
    """MLflow's REST API over one kept-alive connection, for what isn't measured."""

    def __init__(self, server: Running) -> None:
        self.connection = http.client.HTTPConnection(HOST, server.port, timeout=120)
        self.headers = server.headers

    def post(self, path: str, **fields: Any) -> Any:
        headers = {"Content-Type": "application/json", **self.headers}
        return json.loads(self.answer("POST", path, json.dumps(fields).encode(), headers))

    def get(self, path: str, **fields: str) -> bytes:
        return self.answer("GET", f"{path}?{urlencode(fields)}", None, self.headers)

    def answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self.connection.request(method, f"/api/2.0/mlflow/{path}", body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path.partition('?')[0]} answered {answer.status}: {content[:300]!r}")
        return content

    def new_run(self, experiment_id: str = "0") -> str:
        run = self.post("runs/create", experiment_id=experiment_id, start_time=int(time.time() * 1000))["run"]
        return str(run["info"]["run_id"])


def command_of(name: str, folder: Path, port: int) -> list[str]:
    if name == "amlstore":
        return [AMLSTORE, "serve", f"{folder}/workspace", "--port", "0"]
    if name in ("mlflow", "mlflow default"):
        address = ["--host", HOST, "--port", str(port)]
        workers = ["--workers", "1"] if name == "mlflow" else []
        stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
        return [sys.executable, "-m", "mlflow", "server", *address, *workers, *stores]
    return [sys.executable, __file__, name, str(port), str(folder)]


def clean_environment(folder: Path) -> dict[str, str]:
    """This process's environment without what points MLflow or amlstore at some other place.

    Python keeps the bytecode of what it imports, as it does for users: without, it compiles all of it at each start.
    """
    elsewhere = ("MLFLOW_", "AMLSTORE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
    return {**kept, **quiet, "XDG_STATE_HOME": f"{folder}/state"}


@contextmanager
def running(name: str, folder: Path) -> Iterator[Running]:
    """A server over a folder, stopped at the end with everything that it started."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = clean_environment(folder)
    log = folder / "server.log"
    port = free_port()
    began = time.perf_counter()
    with log.open("wb") as opened:
        process = subprocess.Popen(
            command_of(name, folder, port),
            stdout=opened,
            stderr=opened,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        if name == "amlstore":
            port = int(printed(process, log, "Service: ").rpartition(":")[2])
        wait_for_health(process, log, port)
        first_answer_s = time.perf_counter() - began
        tracking_uri = uri_of(f"http://{HOST}:{port}", environment) if name == "amlstore" else ""
        token = tracking_uri.rpartition("token=")[2]
        yield Running(name, process.pid, port, first_answer_s, environment, token, tracking_uri)
    finally:
        stop(process)


class KeptServers:
    """Servers that run until the end, each started by the first turn that wants it. Between turns their processes stand
    still, so that they take no time from the others'."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Running] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "KeptServers":
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self._kept.values():
            os.killpg(server.pid, signal.SIGCONT)  # what stands still can't stop
        self._stack.close()

    @contextmanager
    def running(self, name: str, _folder: Path) -> Iterator[Running]:
        """The server of that name, for one turn; its folder has its name."""
        server = self._kept.get(name)
        if server is None:
            server = self._kept[name] = self._stack.enter_context(running(name, self._folder / name))
        else:
            os.killpg(server.pid, signal.SIGCONT)
        try:
            yield server
        finally:
            os.killpg(server.pid, signal.SIGSTOP)


def uri_of(service_url: str, environment: dict[str, str]) -> str:
    """A fresh tracking URI of a service."""
    command = [AMLSTORE, "uri", "--url", service_url]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def free_port() -> int:
    with ThreadingHTTPServer((HOST, 0), BaseHTTPRequestHandler) as server:
        return int(server.server_address[1])


def printed(process: subprocess.Popen[bytes], log: Path, label: str) -> str:
    """What a server prints behind a label, when it has."""
    while True:
        ended = process.poll() is not None
        for line in log.read_text().splitlines(keepends=True):
            if line.startswith(label) and line.endswith("\n"):
                return line[len(label) :].strip()
        if ended:
            raise RuntimeError(f"the server ended before it was ready:\n{log.read_text()[-2000:]}")
        time.sleep(0.005)


def wait_for_health(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.perf_counter() + START_TIMEOUT_S
    while process.poll() is None and time.perf_counter() < deadline:
        connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_S)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise RuntimeError(f"the server didn't answer:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):  # MLflow's job runners sometimes outlive it
        os.killpg(process.pid, signal.SIGKILL)


def memory_mb(server: Running) -> float:
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):  # a process that ended meanwhile: look again
            return pss_mb(process_tree(server.pid))


def server_cpu_s(server: Running) -> float:
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):
            return cpu_s(process_tree(server.pid))


def wait_until_quiet(server: Running, windows: int = QUIET_WINDOWS) -> None:
    """Wait until a server has hardly used the CPU for some windows of `QUIET_S` seconds: MLflow starts processes long
    after its first answer."""
    deadline = time.perf_counter() + QUIET_TIMEOUT_S
    quiet = 0
    while time.perf_counter() < deadline:
        before = server_cpu_s(server)
        time.sleep(QUIET_S)
        quiet = quiet + 1 if server_cpu_s(server) - before < 0.1 * QUIET_S else 0
        if quiet == windows:
            return
    note(f"{server.name}: not quiet {QUIET_TIMEOUT_S} s after its start; its figures have what it does beside them")


# The two servers that this file has itself


def floor_app() -> Any:
    """`servers.py`'s app that parses a log-batch, and the few constant answers that make MLflow's client call it."""
    parsing = asgi_app(parse_typed)
    constant = {path: json.dumps(answer).encode() for path, answer in FLOOR_ANSWERS.items()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = constant.get(scope["path"])
        if body is None:
            await parsing(scope, receive, send)
            return
        while (await receive()).get("more_body", False):
            pass
        headers = [JSON_HEADERS[0], (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def serve_floor(port: int) -> None:
    import uvicorn

    lean: Any = {"access_log": False, "log_level": "warning", "lifespan": "off", "ws": "none"}
    uvicorn.run(floor_app(), host=HOST, port=port, loop="uvloop", http="httptools", **lean)


class FileHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # else curl waits a second for "100 Continue" before it sends a large body
    folder: Path

    def do_PUT(self) -> None:
        buffer = memoryview(bytearray(COPY_BYTES))
        missing = int(self.headers["Content-Length"])
        with self.file().open("wb", buffering=0) as target:
            while missing:
                received = self.connection_read(buffer[: min(missing, COPY_BYTES)])
                target.write(buffer[:received])
                missing -= received
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def connection_read(self, buffer: memoryview) -> int:
        received = self.rfile.readinto1(buffer)  # type: ignore[attr-defined]
        if not received:
            raise ConnectionError("the client closed the connection within its body")
        return int(received)

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/health":
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("Content-Length", str(self.file().stat().st_size))
        self.end_headers()
        with self.file().open("rb") as source:
            self.connection.sendfile(source)

    def file(self) -> Path:
        return self.folder / Path(self.path).name

    def log_message(self, *_: Any) -> None:
        pass


def serve_files(port: int, folder: Path) -> None:
    FileHandler.folder = folder / "files"
    shutil.rmtree(FileHandler.folder, ignore_errors=True)
    FileHandler.folder.mkdir()
    ThreadingHTTPServer((HOST, port), FileHandler).serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "floor":
        serve_floor(int(sys.argv[2]))
    else:
        serve_files(int(sys.argv[2]), Path(sys.argv[3]))
