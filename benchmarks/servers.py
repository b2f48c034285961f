"""HTTP servers and frameworks answering MLflow's log-batch with `{}`, to choose what `amlstore serve` is built on.

    pip install "uvicorn[standard]" "granian[uvloop]" starlette litestar msgspec
    python benchmarks/servers.py [--seconds 3] [--rounds 3] [--only uvicorn] [--output benchmarks/results/servers.json]

Each candidate parses the body into typed objects and stores nothing, so the differences are the server's, the router's
and the parser's own. The candidates take turns in every round and a figure is the median of its rounds: the machine's
speed drifts. Clients share the cores with the server, so CPU per request says most about how they compare.
"""

import argparse
import functools
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from load import CLIENTS, Connected, post, run_load

HOST = "127.0.0.1"
WARMUP_S = 0.5
DISTINCT_REQUESTS = 100
RUN_ID = "0123456789abcdef0123456789abcdef"
CLIENT_HEADERS = {"User-Agent": "mlflow-python-client/3.0.0", "Accept-Encoding": "gzip, deflate", "Accept": "*/*"}
JSON_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]

# MLflow's order of its calls, with both prefixes in turn as its own server has them: log-batch is in the middle.
ACTIONS = """
experiments: get-by-name create search get delete restore update set-experiment-tag delete-experiment-tag
runs: create update delete restore log-metric log-parameter set-tag delete-tag get search
artifacts: list presigned-upload-url presigned-download-url
metrics: get-history get-history-bulk get-history-bulk-interval
runs: log-batch log-model log-inputs outputs
registered-models: create rename update delete get search get-latest-versions set-tag delete-tag alias
model-versions: create update transition-stage delete get search get-download-uri set-tag delete-tag
logged-models: create search set-tags
"""
GROUPS = [line.split(": ") for line in ACTIONS.strip().splitlines()]
CALLS = [f"2.0/mlflow/{group}/{action}" for group, actions in GROUPS for action in actions.split()]
PATHS = [f"/{prefix}/{call}" for call in CALLS for prefix in ("ajax-api", "api")]
LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


class Metric(msgspec.Struct):
    key: str
    value: float
    timestamp: int
    step: int = 0


class Pair(msgspec.Struct):
    key: str
    value: str


class LogBatch(msgspec.Struct):
    run_id: str
    metrics: list[Metric] = []
    params: list[Pair] = []
    tags: list[Pair] = []


parse_typed = msgspec.json.Decoder(LogBatch).decode


def asgi_app(parse: Any) -> Any:
    """The bare ASGI function, with a dict for its router."""

    async def log_batch(receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        parse(body)
        await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})

    routes = dict.fromkeys(PATHS, log_batch)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await routes[scope["path"]](receive, send)

    return app


def rsgi_app() -> Any:
    headers = [(name.decode(), value.decode()) for name, value in JSON_HEADERS]

    async def log_batch(protocol: Any) -> None:
        parse_typed(await protocol())
        protocol.response_bytes(200, headers, b"{}")

    routes = dict.fromkeys(PATHS, log_batch)

    async def app(scope: Any, protocol: Any) -> None:
        await routes[scope.path](protocol)

    return app


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def log_batch(request: Request) -> Response:
        parse_typed(await request.body())
        return Response(b"{}", media_type="application/json")

    return Starlette(routes=[Route(path, log_batch, methods=["POST"]) for path in PATHS])


def litestar_app() -> Any:
    from litestar import Litestar, post

    async def log_batch(data: LogBatch) -> dict[str, str]:
        return {}

    handlers = [post(path, status_code=200)(log_batch) for path in PATHS]
    return Litestar(route_handlers=handlers, openapi_config=None, logging_config=None)


RAW = {"raw": functools.partial(asgi_app, parse_typed), "raw-json": functools.partial(asgi_app, json.loads)}
APPS = {**RAW, "rsgi": rsgi_app, "starlette": starlette_app, "litestar": litestar_app}
UVICORN = [f"uvicorn {app}" for app in ("raw", "raw-json", "starlette", "litestar")]
GRANIAN = [f"granian {app}" for app in ("raw", "rsgi", "starlette", "litestar")]
CANDIDATES = UVICORN + GRANIAN


def make_app(app: str) -> Any:
    return APPS[app]()


def serve(candidate: str, port: int) -> None:
    server, app = candidate.split()
    if server == "uvicorn":
        import uvicorn

        lean = {"access_log": False, "log_level": "warning", "lifespan": "off", "ws": "none"}
        uvicorn.run(make_app(app), host=HOST, port=port, loop="uvloop", http="httptools", **lean)
        return
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.server import Server

    interface = Interfaces.RSGI if app == "rsgi" else Interfaces.ASGINL
    quick: Any = {"loop": Loops.uvloop, "http": HTTPModes.http1, "websockets": False, "log_enabled": False}
    granian = Server(candidate, HOST, port, interface=interface, **quick)
    granian.serve(target_loader=functools.partial(make_app, app), wrap_loader=False)


@dataclass
class Row:
    candidate: str
    metrics: int
    requests_per_s: float
    p99_ms: float
    one_client_ms: float
    cpu_us: float
    pss_mb: float
    first_answer_s: float
    spread: float
    errors: int


COLUMNS = "metrics:d requests_per_s:.0f p99_ms:.2f one_client_ms:.3f cpu_us:.0f pss_mb:.1f first_answer_s:.2f"
FORMATS = dict(column.split(":") for column in [*COLUMNS.split(), "spread:.0%", "errors:d"])


def log_batch_request(port: int, metrics: int, first_step: int) -> bytes:
    points = [
        {"key": f"metric_{number}", "value": 0.5 + number, "timestamp": 1_800_000_000_000 + first_step, "step": step}
        for number, step in enumerate(range(first_step, first_step + metrics))
    ]
    return post(HOST, port, LOG_BATCH, json.dumps({"run_id": RUN_ID, "metrics": points}).encode(), CLIENT_HEADERS)


def process_tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += process_tree(int(child))
    return found


def pss_mb(pids: list[int]) -> float:
    lines = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_s(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(values[11]) + int(values[12]) for values in fields) / os.sysconf("SC_CLK_TCK")


def wait_for_answer(server: subprocess.Popen[bytes], port: int) -> None:
    request = log_batch_request(port, 1, 0)
    while server.poll() is None:
        try:
            if Connected(HOST, port).answered_200(request):
                return
        except OSError:
            time.sleep(0.002)
    raise RuntimeError(f"the server ended with {server.returncode} before it answered")


def measure(candidate: str, seconds: float) -> list[Row]:
    """One round of one candidate, in a process of its own."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, __file__, "--app", candidate, "--port", str(port)])
    try:
        wait_for_answer(server, port)
        first_answer_s = time.perf_counter() - began
        pids = process_tree(server.pid)
        rows = []
        for metrics in (1, 100):
            first_steps = [range(client * 10**6, client * 10**6 + DISTINCT_REQUESTS) for client in range(CLIENTS)]
            request_of = [[log_batch_request(port, metrics, first) for first in firsts] for firsts in first_steps]
            cpu_before = cpu_s(pids)
            many = run_load(HOST, port, request_of, seconds, WARMUP_S)
            cpu_us = (cpu_s(pids) - cpu_before) * 1e6 / (many.requests_per_s * (seconds + WARMUP_S))
            one = run_load(HOST, port, request_of[:1], seconds / 3, WARMUP_S)
            time.sleep(0.5)
            figures = (many.requests_per_s, many.p99_ms, one.p50_ms, cpu_us, pss_mb(pids), first_answer_s)
            rows.append(Row(candidate, metrics, *figures, spread=0, errors=many.errors + one.errors))
        return rows
    finally:
        server.terminate()
        server.wait(timeout=30)


def median_row(rounds: list[Row]) -> Row:
    values = {name: statistics.median(asdict(row)[name] for row in rounds) for name in list(asdict(rounds[0]))[2:]}
    rates = [row.requests_per_s for row in rounds]
    values["spread"] = (max(rates) - min(rates)) / values["requests_per_s"]
    values["errors"] = sum(row.errors for row in rounds)
    return Row(rounds[0].candidate, rounds[0].metrics, **values)


def print_table(rows: list[Row]) -> None:
    print(f"{'candidate':20}" + "".join(f"{name:>16}" for name in FORMATS))
    for row in rows:
        print(f"{row.candidate:20}" + "".join(f"{getattr(row, name):>16{shape}}" for name, shape in FORMATS.items()))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default="", help="measure the candidates whose name has this")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/servers.json"))
    options.add_argument("--app", choices=CANDIDATES, help="serve one candidate: how the script starts its servers")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--quick", action="store_true", help="the same table in two minutes: one short round")
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(rounds=1, seconds=1)  # what else is given holds
        chosen = options.parse_args()
    if chosen.app:
        serve(chosen.app, chosen.port)
        return
    candidates = [candidate for candidate in CANDIDATES if chosen.only in candidate]
    measured: dict[tuple[str, int], list[Row]] = {}
    for turn in range(chosen.rounds):
        for candidate in candidates if turn % 2 == 0 else reversed(candidates):
            for row in measure(candidate, chosen.seconds):
                measured.setdefault((row.candidate, row.metrics), []).append(row)
    rows = [median_row(measured[candidate, metrics]) for metrics in (1, 100) for candidate in candidates]
    print_table(rows)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    packages = ("uvicorn", "uvloop", "httptools", "granian", "starlette", "litestar", "msgspec")
    about = {"python": platform.python_version(), "cpus": os.cpu_count(), **{name: version(name) for name in packages}}
    report = {**about, "clients": CLIENTS, "rounds": chosen.rounds, "rows": [asdict(row) for row in rows]}
    chosen.output.write_text(json.dumps(report, indent=2) + "\n")
    print(f"Written to {chosen.output}")


if __name__ == "__main__":
    main()
