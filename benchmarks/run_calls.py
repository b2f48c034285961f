"""One task of a client, for `run_vocabulary.py`, in a process of its own: prints what it took as JSON.

    python run_calls.py log_us | log | fill | get_metrics RUN_ID | log_row     `Run`, at MLFLOW_TRACKING_URI
    python run_calls.py trackio_log_us | trackio_log                           trackio, in the folder TRACKIO_DIR
    python run_calls.py mlflow_log                                             MLflow's client, at MLFLOW_TRACKING_URI

`values` and other sizes are further arguments. A process ends at once when it has printed: what was not durable by then
isn't there when the benchmark reads it back.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

PROJECT = "speed"
TABLES, COLUMNS = 3, 15
SERIES, POINTS = 100, 10_000
MLFLOW_BATCH = 1000  # the most that its REST API takes


def new_run() -> Any:
    from mlflow_amlstore.core import Experiment, Workspace

    workspace = Workspace.from_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    run = Experiment(workspace, PROJECT).start_logging(outputs=False, snapshot_directory=None)
    run.log("warm", 0.0)
    run.flush()
    return run


def median_us(call: Callable[[float], None], values: int) -> float:
    times = []
    for number in range(values):
        value = float(number)
        began = time.perf_counter_ns()
        call(value)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1000


def log_us(values: str) -> dict[str, Any]:
    """The median of `run.log`, in microseconds."""
    run = new_run()
    us = median_us(lambda value: run.log("loss", value), int(values))
    run.flush()
    return {"us": us, "run_id": run.id}


def log(values: str) -> dict[str, Any]:
    """`run.log` of one metric again and again, until all is durable."""
    run = new_run()
    began = time.perf_counter()
    for number in range(int(values)):
        run.log("loss", float(number))
    run.flush()
    return {"s": time.perf_counter() - began, "run_id": run.id}


def log_row(steps: str) -> dict[str, Any]:
    """A row in each of some tables at every step, until all is durable."""
    run = new_run()
    rows = [{f"c{column}": float(step + column) for column in range(COLUMNS)} for step in range(int(steps))]
    began = time.perf_counter()
    for row in rows:
        for table in range(TABLES):
            run.log_row(f"table{table}", **row)
    run.flush()
    return {"s": time.perf_counter() - began, "run_id": run.id}


def fill() -> dict[str, Any]:
    """A run with many long series, for `get_metrics`."""
    run = new_run()
    for name in (f"series{number}" for number in range(SERIES)):
        for number in range(POINTS):
            run.log(name, float(number))
    run.flush()
    return {"run_id": run.id}


def get_metrics(run_id: str) -> dict[str, Any]:
    """Read a whole run, which this process knows nothing of, back."""
    from mlflow_amlstore.core import Run, Workspace

    run = Run.get(Workspace.from_tracking_uri(os.environ["MLFLOW_TRACKING_URI"]), run_id)
    began = time.perf_counter()
    found = run.get_metrics()
    seconds = time.perf_counter() - began
    expected = [float(number) for number in range(POINTS)]
    if found != {"warm": 0.0, **{f"series{number}": expected for number in range(SERIES)}}:
        raise RuntimeError("the run's metrics aren't those that were logged")
    return {"s": seconds}


def trackio_log_us(values: str) -> dict[str, Any]:
    """The median of `trackio.log`, in microseconds."""
    trackio = started_trackio()
    us = median_us(lambda value: trackio.log({"loss": value}), int(values))
    trackio.finish()
    return {"us": us}


def trackio_log(values: str) -> dict[str, Any]:
    """`trackio.log` again and again, until `trackio.finish` says that its thread has written all to its database."""
    trackio = started_trackio()
    began = time.perf_counter()
    for number in range(int(values)):
        trackio.log({"loss": float(number)})
    trackio.finish()
    return {"s": time.perf_counter() - began}


def started_trackio() -> Any:
    """A run of trackio's on this machine: without a Space, a server, and what it measures of the machine itself."""
    import trackio

    trackio.init(PROJECT, auto_log_gpu=False, auto_log_cpu=False, embed=False)
    trackio.log({"warm": 0.0})
    time.sleep(1)  # its thread writes every half a second
    return trackio


def mlflow_log(values: str) -> dict[str, Any]:
    """`MlflowClient.log_batch` with as many points as a request may have: the quickest that MLflow's client can."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    now_ms = int(time.time() * 1000)
    client.log_metric(run_id, "warm", 0.0)
    began = time.perf_counter()
    for first in range(0, int(values), MLFLOW_BATCH):
        steps = range(first, min(first + MLFLOW_BATCH, int(values)))
        client.log_batch(run_id, metrics=[Metric("loss", float(step), now_ms, step) for step in steps])
    return {"s": time.perf_counter() - began, "run_id": run_id}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (log_us, log, log_row, fill, get_metrics, trackio_log_us, trackio_log, mlflow_log)
}

if __name__ == "__main__":
    answer = TASKS[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # no exit handler of anybody's writes anything now
