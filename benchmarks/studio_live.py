"""How soon `studio.py` sees on an open page what another process logged, and how a Studio starts.

    python studio_live.py amlstore|mlflow|trackio FOLDER|URL|PROJECT RUN     the process that logs

It logs the value of each line of its stdin, and prints the time at which it began to. The value is seen when it stands
in the page of ours, and when it is in what the pages of MLflow and trackio fetch for their charts: those are drawn
later still. TensorBoard's page isn't live: it reads again when asked to, or every half a minute.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from service_servers import Running, memory_mb, stop, wait_until_quiet
from service_table import Bar
from studio_browser import Browser, Visit
from studio_data import Written
from studio_servers import MLFLOW, OURS, TRACKIO, started_studio
from studio_table import row

VALUES = {OURS: 5, MLFLOW: 3, TRACKIO: 3}  # MLflow's page asks every half a minute
SEEN_TIMEOUT_S = 60
READY, BEGAN = "ready", "began at "
new_values = itertools.count(70_001)  # no two alike, and each higher than what was logged before
FETCHED = {MLFLOW: "get-history-bulk-interval", TRACKIO: "get_logs_batch"}
SHOWN = "value => document.body.innerText.replace(/\\s/g, '').includes(value)"

SEEN = row("a logged value until seen", "s", Bar(0.5))
IDLE_REQUESTS = row("requests while idle", "requests", Bar(0.5))  # fewer than one
START = row("start until the first page answers", "s", Bar(1.0))
MEMORY = row("memory, idle (PSS)", "MiB", Bar(100))
LIVE_ROWS = [SEEN, IDLE_REQUESTS]
START_ROWS = [START, MEMORY]


@contextmanager
def logger(server: Running, target: str, run_id: str) -> Iterator[Callable[[float], float]]:
    """A process that logs; gives a function that has it log a value and returns when it began to."""
    process = subprocess.Popen(
        [sys.executable, __file__, server.name, target, run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=server.environment,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def log(value: float) -> float:
        stdin.write(f"{value!r}\n")
        stdin.flush()
        return float(said(BEGAN))

    def said(label: str) -> str:
        for line in stdout:  # where trackio says more
            if line.startswith(label):
                return line[len(label) :]
        raise RuntimeError("the process that logs ended")

    try:
        said(READY)
        yield log
    finally:
        stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def measure_live(server: Running, browser: Browser, written: Written, folder: Path, idle_s: float) -> None:
    """Open the page of a run, have its metric logged, and count what the page asks for while nothing happens."""
    targets = {OURS: f"{folder}/workspace", MLFLOW: server.url, TRACKIO: written.experiment}
    path = {
        OURS: f"/runs/{written.runs[0]}",
        MLFLOW: f"/#/experiments/{written.experiment}/runs/{written.runs[0]}/model-metrics",
        TRACKIO: f"/?project={written.experiment}",
    }[server.name]
    with logger(server, targets[server.name], written.runs[0]) as log, browser.visit(server) as visit:
        visit.open(path, "() => document.body !== null")
        visit.settle()
        for _ in range(VALUES[server.name]):
            value = float(next(new_values))
            SEEN.rounds[server.name].append(seconds_until_seen(visit, server, value, log))
            visit.page.wait_for_timeout(1300)
        before = len(visit.sent)
        visit.page.wait_for_timeout(idle_s * 1000)
        IDLE_REQUESTS.rounds[server.name].append(len(visit.sent) - before)


def seconds_until_seen(visit: Visit, server: Running, value: float, log: Callable[[float], float]) -> float:
    part = FETCHED.get(server.name)
    if part is not None:

        def has_value(answer: Any) -> bool:
            return part in answer.url and f"{value}" in answer.text()

        with visit.page.expect_response(has_value, timeout=SEEN_TIMEOUT_S * 1000):
            began = log(value)
        return time.time() - began
    began = log(value)
    return visit.seconds_until(SHOWN, f"{value:.0f}", began)


def measure_start(product: str, folder: Path, start: Callable[[], Any]) -> None:
    """Start a server, and see what it holds when it is quiet."""
    if product != OURS:
        with start() as server:
            START.rounds[product].append(server.first_answer_s)
            wait_until_quiet(server)
            MEMORY.rounds[product].append(memory_mb(server))
        return
    process, seconds, port = started_studio(folder)
    try:
        START.rounds[product].append(seconds)
        server = Running("amlstore studio", process.pid, port, seconds, {})
        wait_until_quiet(server)
        MEMORY.rounds[product].append(memory_mb(server))
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        stop(process)  # type: ignore[arg-type]


# The process that logs


def main(product: str, target: str, run_id: str) -> None:
    if product == TRACKIO:
        import trackio

        run = trackio.init(target, name=run_id, resume="allow", auto_log_gpu=False, auto_log_cpu=False, embed=False)

        def log(value: float) -> None:
            run.log({"loss": value})

    else:
        from mlflow import MlflowClient

        if product == OURS:
            from mlflow_amlstore.core import Workspace

            target = Workspace.from_config(target).get_mlflow_tracking_uri()
        client = MlflowClient(target)
        client.update_run(run_id, status="RUNNING")  # MLflow asks again for runs that aren't finished

        def log(value: float) -> None:
            client.log_metric(run_id, "loss", value, step=int(value))

    print(READY, flush=True)
    for line in sys.stdin:
        began = time.time()
        log(float(line))
        print(f"{BEGAN}{began!r}", flush=True)
    os._exit(0)  # no exit handler's work is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
