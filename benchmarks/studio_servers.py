"""The interfaces that `studio.py` measures, each started on a free port of this machine as its users would start it.

    with serving("amlstore", Path("some/folder")) as server:
        print(session_cookie(server), server.url)

amlstore      `amlstore serve`, which carries Studio; `amlstore studio --no-open` where its start is measured
mlflow        `mlflow server` with its default number of workers, on SQLite
trackio       `trackio show`
tensorboard   `tensorboard --logdir`

None of them is asked to leave this machine: they listen on its loopback, telemetry is switched off, and what asks a hub
is told that there is none.
"""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from service_servers import AMLSTORE, HOST, START_TIMEOUT_S, Running, clean_environment, free_port, running, stop

OURS, MLFLOW, TRACKIO, TENSORBOARD = "amlstore", "mlflow", "trackio", "tensorboard"
PRODUCTS = (OURS, MLFLOW, TRACKIO, TENSORBOARD)
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "NO_PROXY": "*",
}


def installed() -> list[str]:
    """The products that this environment has."""
    return [name for name in PRODUCTS if name == OURS or find_spec(name) is not None]


@contextmanager
def serving(product: str, folder: Path, data: str = "") -> Iterator[Running]:
    """The server of a product over the folder that has its data; TensorBoard's over one data set of it."""
    if product in (OURS, MLFLOW):
        with running({OURS: OURS, MLFLOW: MLFLOW}[product], folder) as server:
            yield server
        return
    port = free_port()
    commands = {
        TRACKIO: ["-m", "trackio.cli", "show", "--project", data, "--host", HOST],
        TENSORBOARD: ["-m", "tensorboard.main", "--logdir", f"{folder}/{data}", "--port", str(port), "--host", HOST],
    }
    own = {"TRACKIO_DIR": str(folder), "GRADIO_SERVER_PORT": str(port), "BROWSER": "true"}  # `true` opens nothing
    environment = {**clean_environment(folder), **OFFLINE, **own}
    log = folder / "server.log"
    began = time.perf_counter()
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, *commands[product]],
            stdout=opened,
            stderr=opened,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        wait_for_page(process, port, log)
        yield Running(product, process.pid, port, time.perf_counter() - began, environment)
    finally:
        stop(process)


def wait_for_page(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.perf_counter() + START_TIMEOUT_S
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            if get(port, "/")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise RuntimeError(f"the server didn't answer:\n{log.read_text()[-2000:]}")


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage]:
    """Ask once. Returns the status and the headers of the answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


def session_cookie(server: Running) -> tuple[str, str]:
    """Begin a session of ours by a sign-in link. Returns the cookie's name and value."""
    command = [AMLSTORE, "open", "--url", server.url, "--no-open"]
    done = subprocess.run(command, env=server.environment, stdout=subprocess.PIPE, text=True, check=True)
    return redeemed(server.port, done.stdout.strip())


def redeemed(port: int, link: str) -> tuple[str, str]:
    """The session cookie that a sign-in link gives."""
    status, headers = get(port, "/" + link.split("/", 3)[3])
    name, _, value = headers["Set-Cookie"].partition(";")[0].partition("=")
    if status != 200 or not value:
        raise RuntimeError(f"the sign-in link was answered with {status}")
    return name, value


def started_studio(folder: Path) -> tuple["subprocess.Popen[str]", float, int]:
    """`amlstore studio` over a folder: its process, the seconds until its first page answered, and its port."""
    environment = clean_environment(folder)
    began = time.perf_counter()
    process = subprocess.Popen(
        [AMLSTORE, "studio", f"{folder}/workspace", "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    port = int(link.split("/")[2].rpartition(":")[2])
    name, value = redeemed(port, link)
    status, _ = get(port, "/", {"Cookie": f"{name}={value}", "Accept": "text/html"})
    if status != 200:
        raise RuntimeError(f"the first page answered {status}")
    return process, time.perf_counter() - began, port
