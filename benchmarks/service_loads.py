"""The load and size sections of `service.py`: sixteen clients that log, and what a server costs before and after."""

import time
from pathlib import Path

import msgspec
from load import CLIENTS, Load, post, processes, run_load
from servers import CLIENT_HEADERS, LOG_BATCH
from service_servers import HOST, Api, Running, Start, memory_mb, running, server_cpu_s, wait_until_quiet
from service_table import FLOOR, MLFLOW, OURS, Bar, Row, note

ATTEMPTS = 3
STAGGER_S = 0.02
FIRST = 100_000
"""The number of each client's first request: all numbers have six digits, so all requests of a client one length."""

SHAPES = {
    "1 metric": (1, 1),
    "100 metrics, 100 steps of one name": (1, 100),
    "100 metrics, 10 names × 10 steps": (10, 10),
    "100 metrics, 100 names × 1 step": (100, 1),
}
"""How many names and how many steps of each are in one request."""

ONE = "1 metric"
BAR_OF_100 = Bar(200_000, times_mlflow=35)
RATE_OF_ONE = Row(f"log-batch, {ONE}", "requests/s", True, Bar(3_000, times_mlflow=20))
RATES_OF_100 = {shape: Row(f"log-batch, {shape}", "metrics/s", True, BAR_OF_100) for shape in SHAPES if shape != ONE}
RATES = {ONE: RATE_OF_ONE, **RATES_OF_100}
P99S = {shape: Row(f"p99, {shape}", "ms", False, Bar(25) if shape == ONE else None) for shape in SHAPES}
CPUS = {shape: Row(f"server's CPU, {shape}", "µs/request", False) for shape in SHAPES}
LOAD_ROWS = [rows[shape] for shape in SHAPES for rows in (RATES, P99S, CPUS)]

IDLE = Row("memory, idle (PSS)", "MiB", False, Bar(120))
IDLE_DEFAULT = Row("memory, idle, MLflow's default workers", "MiB", False, Bar(120))
LOADED = Row("memory, after the load", "MiB", False)
FIRST_START = Row("start until /health answers, new folder", "s", False, Bar(1.0))
NEXT_START = Row("start until /health answers, after the load", "s", False, Bar(1.0))
SIZE_ROWS = [IDLE, IDLE_DEFAULT, LOADED, FIRST_START, NEXT_START]


class Point(msgspec.Struct):
    step: int = 0


class History(msgspec.Struct):
    metrics: list[Point] = []
    next_page_token: str = ""


read_history = msgspec.json.Decoder(History).decode


class DistinctPoints:
    """Requests of which no two have a point in common, and each client a run of its own.

    A request is its client's template with the request's number put in, because the clients share their cores with the
    server: even of 100 points it takes some microseconds.
    """

    def __init__(self, server: Running, run_ids: list[str], names: int, steps: int) -> None:
        self.run_ids, self.names, self.steps = run_ids, names, steps
        headers = {**CLIENT_HEADERS, **server.headers}
        digits = len(str(FIRST))
        templates = [self.body(run_id).replace(b"@", b"0" * digits) for run_id in run_ids]
        lengths = [{"Content-Length": str(len(body))} for body in templates]
        self.templates = [
            post(HOST, server.port, LOG_BATCH, self.body(run_id), {**headers, **length})
            for run_id, length in zip(run_ids, lengths, strict=True)
        ]
        self.asked = processes.Array("q", [0] * len(run_ids), lock=False)

    def body(self, run_id: str) -> bytes:
        """A log-batch as MLflow's client writes it, with @ for the request's number."""
        within = len(str(self.steps)) - 1  # digits of a step behind the request's number
        points = ", ".join(
            f'{{"key": "metric_{name}", "value": 0.@{name:02}{step:02}7, "timestamp": 180@{step:04}, '
            f'"step": @{f"{step:0{within}}" if within else ""}}}'
            for name in range(self.names)
            for step in range(self.steps)
        )
        return f'{{"run_id": "{run_id}", "metrics": [{points}]}}'.encode()

    def __call__(self, client: int, counter: int) -> bytes:
        if counter == 0:
            time.sleep(client * STAGGER_S)  # in the warm-up: real clients don't begin at one moment
        self.asked[client] = counter  # a client asks for a request when the one before it was answered
        return self.templates[client].replace(b"@", b"%d" % (FIRST + counter))

    def check(self, server: Running, failed: int) -> None:
        """Read every run back. Raises RuntimeError if an acknowledged point isn't there, or is there twice."""
        api = Api(server)
        missing = 0
        for client, run_id in enumerate(self.run_ids):
            sent = set(range(FIRST * self.steps, (FIRST + self.asked[client]) * self.steps))
            for name in range(self.names):
                found = steps_of(api, run_id, f"metric_{name}")
                if len(found) != len(sent.intersection(found)):
                    raise RuntimeError(f"run {run_id} has points of metric_{name} twice, or ones that nobody sent")
                missing += len(sent) - len(found)
        if missing > failed * self.names * self.steps:
            raise RuntimeError(f"{missing} points are missing, and {failed} requests weren't acknowledged")


def steps_of(api: Api, run_id: str, name: str) -> list[int]:
    """The steps of a metric's whole history."""
    found: list[int] = []
    token = ""
    while True:
        asked = {"run_id": run_id, "metric_key": name, **({"page_token": token} if token else {})}
        page = read_history(api.get("metrics/get-history", **asked))
        found += [point.step for point in page.metrics]
        token = page.next_page_token
        if not token:
            return found


def load_of(server: Running, column: str, shape: str, seconds: float) -> tuple[Load, float]:
    """Load a server, and read back what it acknowledged. Returns its µs of CPU for a request, too.

    Where requests of another server than ours fail, the load is noted and repeated: MLflow's has fifteen connections to
    its database, and sixteen requests at one moment may wait for each other until they're refused.
    """
    names, steps = SHAPES[shape]
    for _ in range(ATTEMPTS):
        wait_until_quiet(server, windows=1)
        api = Api(server)
        requests = DistinctPoints(server, [api.new_run() for _ in range(CLIENTS)], names, steps)
        cpu_before = server_cpu_s(server)
        measured = run_load(HOST, server.port, requests, seconds)
        cpu_us = (server_cpu_s(server) - cpu_before) * 1e6 / sum(requests.asked)
        if column != FLOOR:
            requests.check(server, measured.errors)
        if not measured.errors:
            return measured, cpu_us
        note(f"{column}: {measured.errors} of {sum(requests.asked)} requests failed in a load of {shape}")
        if column == OURS:
            break
    raise RuntimeError(f"no load of {shape} went without failed requests")


def measure_load(turn: str, folder: Path, start: Start, seconds: float) -> None:
    with start(turn, folder) as server:
        wait_until_quiet(server)
        for shape, (names, steps) in SHAPES.items():
            measured, cpu_us = load_of(server, turn, shape, seconds)
            RATES[shape].rounds[turn].append(measured.requests_per_s * names * steps)
            P99S[shape].rounds[turn].append(measured.p99_ms)
            CPUS[shape].rounds[turn].append(cpu_us)


def measure_size(turn: str, folder: Path, start: Start, seconds: float) -> None:
    """What a server costs that has just been started: one that is kept tells it when it is started."""
    if turn == "mlflow default":
        with running(turn, folder) as server:
            wait_until_quiet(server)
            IDLE_DEFAULT.rounds[MLFLOW].append(memory_mb(server))
        return
    with running(turn, folder) as server:
        FIRST_START.rounds[turn].append(server.first_answer_s)
        wait_until_quiet(server)
        idle = memory_mb(server)
        IDLE.rounds[turn].append(idle)
        if turn == OURS:
            IDLE_DEFAULT.rounds[turn].append(idle)
        load_of(server, turn, ONE, seconds)
        wait_until_quiet(server)
        LOADED.rounds[turn].append(memory_mb(server))
    with start(turn, folder) as server:
        NEXT_START.rounds[turn].append(server.first_answer_s)
