"""The client, read and files sections of `service.py`: what a process with MLflow's client sees.

Each figure comes from a process of its own, which runs a task of `service_calls.py`, so that no store, token or
connection is shared.
"""

import filecmp
import json
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import service_calls
from service_servers import Api, Running, Start, wait_until_quiet
from service_table import FLOOR, MLFLOW, OURS, Bar, Row

PROCESSES = multiprocessing.get_context("forkserver")  # a new process has MLflow, which takes seconds to import
PROCESSES.set_forkserver_preload(["mlflow"])
BATCH_POINTS = 1000


class Reading(NamedTuple):
    """How much there is to read."""

    runs: int
    points: int


METRIC_BAR = Bar(1.3, times_mlflow=5.5)
HTTP_METRIC = Row("mlflow.log_metric, http:// URI (MLflow's own client)", "ms", False, METRIC_BAR)
PLUGIN_METRIC = Row("mlflow.log_metric, our plugin's URI", "ms", False, METRIC_BAR)
CLIENT_ROWS = [HTTP_METRIC, PLUGIN_METRIC]

SEARCH = Row("search_runs, one page, our plugin", "s", False, Bar(0.2))
HISTORY = Row("whole history, our plugin", "s", False, Bar(0.8))
HTTP_SEARCH = Row("search_runs, one page, MLflow's own client", "s", False)
HTTP_HISTORY = Row("whole history, MLflow's own client", "s", False)
READ_ROWS = [SEARCH, HISTORY, HTTP_SEARCH, HTTP_HISTORY]

UP = Row("file up, our plugin", "MB/s", True, Bar(times_mlflow=3, of_floor=0.5))
DOWN = Row("file down, our plugin", "MB/s", True, Bar(times_mlflow=3, of_floor=0.6))
PROXY_UP = Row("file up, MLflow's own client through our proxy", "MB/s", True)
PROXY_DOWN = Row("file down, MLflow's own client through our proxy", "MB/s", True)
PLAIN_UP = Row("file up, curl to a plain file server", "MB/s", True)
PLAIN_DOWN = Row("file down, curl to a plain file server", "MB/s", True)
UP_MEMORY = Row("client's peak memory, up", "MiB", False)
DOWN_MEMORY = Row("client's peak memory, down", "MiB", False)
FILES_ROWS = [UP, DOWN, PROXY_UP, PROXY_DOWN, PLAIN_UP, PLAIN_DOWN, UP_MEMORY, DOWN_MEMORY]


def call(server: Running, way: str, task: str, *arguments: Any) -> Any:
    """Run one task of `service_calls.py` against a server, by its address or by its tracking URI for the plugin."""
    uri = {"MLFLOW_TRACKING_URI": server.tracking_uri}
    if way != "plugin":
        uri = {"MLFLOW_TRACKING_URI": server.url, **({"MLFLOW_TRACKING_TOKEN": server.token} if server.token else {})}
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=service_calls.run, args=({**server.environment, **uri}, task, arguments, sender))
    process.start()
    sender.close()
    try:
        answer, failure = receiver.recv()
    except EOFError:
        failure = "its process ended without an answer"
    process.join()
    if failure:
        raise RuntimeError(f"{task} failed: {failure}")
    return answer


def measure_client(turn: str, folder: Path, start: Start, seconds: float) -> None:
    """`mlflow.log_metric` in an active run, one process."""
    name, _, way = turn.partition(" ")
    with start(name, folder) as server:
        wait_until_quiet(server)
        median_ms = call(server, way, "log_metric", seconds)
        for row in (PLUGIN_METRIC,) if way else (HTTP_METRIC,) if name == OURS else CLIENT_ROWS:
            row.rounds[name].append(median_ms)


def measure_read(turn: str, folder: Path, start: Start, reading: Reading) -> None:
    """Both reads, of the records of the first round."""
    name, _, way = turn.partition(" ")
    with start(name, folder) as server:
        folder.mkdir(exist_ok=True, parents=True)
        filled = folder / "filled.json"
        if not filled.exists():
            filled.write_text(json.dumps(fill(server, reading)))
        experiment_id, run_id = json.loads(filled.read_text())
        wait_until_quiet(server)
        search_s = call(server, way, "search_runs", experiment_id, reading.runs)
        history_s = call(server, way, "history", run_id, reading.points)
    for search, history in ([(SEARCH, HISTORY)] if name == MLFLOW or way else []) + (
        [(HTTP_SEARCH, HTTP_HISTORY)] if not way else []
    ):
        search.rounds[name].append(search_s)
        history.rounds[name].append(history_s)


def fill(server: Running, reading: Reading) -> tuple[str, str]:
    """Make the runs and the long history to read. Returns the experiment's id and the history's run's."""
    api = Api(server)
    experiment_id = api.post("experiments/create", name="read")["experiment_id"]
    now_ms = 1_800_000_000_000
    for number in range(reading.runs):
        metrics = [
            {"key": f"m{key}", "value": number / 7 + key, "timestamp": now_ms + number, "step": 1} for key in range(5)
        ]
        params = [{"key": f"p{key}", "value": str(number % 7)} for key in range(5)]
        api.post("runs/log-batch", run_id=api.new_run(experiment_id), metrics=metrics, params=params)
    run_id = api.new_run()
    for first in range(0, reading.points, BATCH_POINTS):
        steps = range(first, first + BATCH_POINTS)
        points = [{"key": "loss", "value": 1 / (step + 1), "timestamp": now_ms + step, "step": step} for step in steps]
        api.post("runs/log-batch", run_id=run_id, metrics=points)
    return experiment_id, run_id


def make_file(path: Path, megabytes: int) -> Path:
    """A file that doesn't compress."""
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    return path


def measure_files(turn: str, folder: Path, start: Start, source: Path) -> None:
    """The file up, then down; what came down is compared with it."""
    name, _, way = turn.partition(" ")
    target = folder / "target"
    with start(name, folder) as server:
        target.mkdir(parents=True)
        wait_until_quiet(server)
        figures = with_curl(server, source, target) if way == "curl" else with_mlflow(server, way, source, target)
        if not filecmp.cmp(source, target / source.name, shallow=False):
            raise RuntimeError(f"{turn}: another file came down than went up")
    shutil.rmtree(folder)
    megabytes = source.stat().st_size / 1e6
    up_s, down_s, up_mib, down_mib = figures
    rows, column = {
        "amlstore": ([(PROXY_UP, PROXY_DOWN)], OURS),
        "amlstore plugin": ([(UP, DOWN)], OURS),
        "amlstore curl": ([(UP, DOWN), (PROXY_UP, PROXY_DOWN)], FLOOR),
        "files curl": ([(PLAIN_UP, PLAIN_DOWN)], FLOOR),
        "mlflow": ([(UP, DOWN), (PROXY_UP, PROXY_DOWN)], MLFLOW),
    }[turn]
    for up, down in rows:
        up.rounds[column].append(megabytes / up_s)
        down.rounds[column].append(megabytes / down_s)
    if turn in ("amlstore plugin", "mlflow"):
        UP_MEMORY.rounds[column].append(up_mib)
        DOWN_MEMORY.rounds[column].append(down_mib)


def with_mlflow(server: Running, way: str, source: Path, target: Path) -> tuple[float, float, float, float]:
    os.sync()  # else the disk is still busy with what others wrote
    up = call(server, way, "upload", source)
    os.sync()
    down = call(server, way, "download", up["run_id"], source.name, target)
    return up["seconds"], down["seconds"], up["peak_mib"], down["peak_mib"]


def with_curl(server: Running, source: Path, target: Path) -> tuple[float, float, float, float]:
    url, seconds = f"{server.url}/{source.name}", []
    if server.name == OURS:
        uri = str(Api(server).post("runs/create", experiment_id="0", start_time=0)["run"]["info"]["artifact_uri"])
        url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{uri.partition(':')[2].lstrip('/')}/{source.name}"
    header = f"Authorization: Bearer {server.token}\n"  # by stdin, as arguments are in errors
    for arguments in (["-T", str(source)], ["-o", str(target / source.name)]):
        os.sync()
        command = ["curl", "--silent", "--show-error", "--fail", "--write-out", "\n%{time_total}", *arguments, url]
        ended = subprocess.run([*command, "--header", "@-"], input=header.encode(), check=True, capture_output=True)
        seconds.append(float(ended.stdout.split()[-1]))
    return seconds[0], seconds[1], 0, 0
