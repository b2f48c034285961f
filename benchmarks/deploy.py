"""A deployed model's speed, beside `mlflow models serve`, a FastAPI app with the same model, and a server without one.

    pip install -e '.[deploy,examples]' mlflow
    python benchmarks/deploy.py [--quick] [--rounds 3] [--seconds 4] [--output benchmarks/results/deploy.json]

The model is scikit-learn's Ridge on the diabetes data, fitted on an array and on a DataFrame; a request is two rows.
All servers have one worker and take turns in each round, loaded by 16 connections of one other process, then by one.
CPU is that of all of a server's processes. The parse-only server is uvicorn with an application that reads JSON and
answers with two numbers. A bar that isn't met is printed and fails nothing.
"""

import argparse
import hashlib
import http.client
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers import cpu_s, process_tree, pss_mb

OURS, MLFLOW, FASTAPI, FLOOR = "amlstore", "mlflow models serve", "FastAPI", "parse-only ASGI"
MLFLOW_TABLE = "mlflow models serve, dataframe_split"
HOST, KEY = "127.0.0.1", "a-key-for-the-benchmark"
CLIENTS = 16
WARM_UP_S = 1.0
FASTAPI_APP = """
import sys, joblib, uvicorn
import numpy as np, pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(sys.argv[1])
app = FastAPI()

class Rows(BaseModel):
    data: list[list[float]]
    columns: list[str] | None = None

@app.post("/score")
def score(rows: Rows):
    values = np.array(rows.data) if rows.columns is None else pd.DataFrame(rows.data, columns=rows.columns)
    return model.predict(values).tolist()

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""
FLOOR_APP = """
import sys, msgspec, uvicorn

async def app(scope, receive, send):
    message = await receive()
    body = msgspec.json.encode([float(len(row)) for row in msgspec.json.decode(message["body"])["data"]])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", lifespan="off", access_log=False)
"""
CLIENT = "import sys; sys.path.insert(0, sys.argv[1]); import deploy; deploy.be_a_client()"


class Table:
    """Figures by what they are and whose."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.bars: dict[tuple[str, str], tuple[str, float]] = {}

    def median(self, what: str, who: str) -> float:
        return statistics.median(self.rounds[what, who])

    def show(self) -> None:
        """Print ours, and below it each other's with how many times better ours is."""
        for what in dict.fromkeys(what for what, _ in self.rounds):
            more_is_better = "requests/s" in what
            ours = self.median(what, OURS)
            spread = self.rounds[what, OURS]
            print(f"{what:<52}{ours:>11.3f}  ({min(spread):.3f} to {max(spread):.3f})")
            for who in dict.fromkeys(who for other, who in self.rounds if other == what and who != OURS):
                theirs = self.median(what, who)
                times = ours / theirs if more_is_better else theirs / ours
                print(f"{'  ' + who:<52}{theirs:>11.3f}  ours is {times:.1f}× as good{self._verdict(what, who, times)}")
            if bar := self.bars.get((what, OURS)):
                print(f"{'':<52}  bar {bar[1]:g}: {'met' if ours <= bar[1] else 'NOT MET'}")

    def _verdict(self, what: str, who: str, times: float) -> str:
        bar = self.bars.get((what, who))
        return "" if bar is None else f"  bar {bar[1]:g}×: {'met' if times >= bar[1] else 'NOT MET'}"


def be_a_client() -> None:
    """`PACKAGES PORT CONNECTIONS SECONDS REQUEST`: send a request over and over; print how often and how long."""
    port, connections, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    request = Path(sys.argv[5]).read_bytes()
    polled = select.epoll()
    opened: dict[int, socket.socket] = {}
    began: dict[int, float] = {}
    for _ in range(connections):
        connection = socket.create_connection((HOST, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened[connection.fileno()] = connection
        polled.register(connection, select.EPOLLIN)
        began[connection.fileno()] = time.perf_counter()
        connection.sendall(request)
    took: list[float] = []
    unfinished: dict[int, bytes] = dict.fromkeys(opened, b"")
    start = time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        for number, _ in polled.poll(1.0):
            answer = unfinished[number] + opened[number].recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if not length or len(body) < int(length):
                unfinished[number] = answer
                continue
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(answer[:500].decode())
            unfinished[number] = b""
            now = time.perf_counter()
            took.append(now - began[number])
            began[number] = now
            opened[number].sendall(request)
    print(json.dumps({"count": len(took), "seconds": now - start, "p50_s": statistics.median(took)}))


def load(port: int, connections: int, seconds: float, request: Path) -> dict[str, float]:
    command = [sys.executable, "-c", CLIENT, str(Path(__file__).parent), str(port), str(connections), str(seconds)]
    done = subprocess.run([*command, str(request)], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def make_models(folder: Path) -> dict[str, dict[str, Any]]:
    """Fit and save both models for all servers; return a request's body for each, by format."""
    import joblib
    import mlflow.sklearn
    import skops.io
    from mlflow.models import infer_signature
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    bodies: dict[str, dict[str, Any]] = {}
    for kind in ("ndarray", "DataFrame"):
        data, target = load_diabetes(return_X_y=True, as_frame=kind == "DataFrame")
        model = Ridge().fit(data, target)
        made = folder / kind
        served = made / "served"
        served.mkdir(parents=True)
        mlflow.sklearn.save_model(model, made / "mlflow", signature=infer_signature(data, model.predict(data)))
        joblib.dump(model, made / "model.joblib")
        skops.io.dump(model, served / "model.skops")
        about = {"endpoint": "diabetes", "number": 1, "model_name": "diabetes", "model_version": 1}
        text = json.dumps({**about, "framework": "ScikitLearn", "model": "model.skops"})
        (served / "deployment.json").write_text(text)
        hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, "another")]
        (served / "keys.json").write_text(json.dumps({"sha256": hashes}))
        rows = (data.to_numpy() if kind == "DataFrame" else data)[:2].tolist()
        split = {"columns": list(data.columns), "data": rows} if kind == "DataFrame" else None
        bodies[kind] = {
            OURS: {"data": rows} if split is None else {"input_data": split},
            MLFLOW: {"inputs": rows} if split is None else {"dataframe_split": split},
            MLFLOW_TABLE: {"dataframe_split": {"columns": list(range(10)), "data": rows}},
            FASTAPI: {"data": rows} if split is None else split,
            FLOOR: {"data": rows},
        }
    return bodies


@contextmanager
def serving(who: str, folder: Path) -> Iterator[tuple[int, int, float]]:
    """A server of a folder's model: its port, its process, and how long it took to answer."""
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    script = folder / "app.py"
    if who == OURS:
        command = [sys.executable, "-m", "mlflow_amlstore.scoring", f"{folder}/served", "--port", str(port)]
    elif who in (MLFLOW, MLFLOW_TABLE):
        options = ["--env-manager", "local", "-p", str(port), "-h", HOST]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"{folder}/mlflow", *options]
    else:
        script.write_text(FASTAPI_APP if who == FASTAPI else FLOOR_APP)
        command = [sys.executable, str(script), f"{folder}/model.joblib", str(port)]
    began = time.perf_counter()
    with (folder / "log.txt").open("wb") as log:
        scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])  # it calls `uvicorn`
        environment = {**os.environ, "PATH": scripts}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{who} ended: {(folder / 'log.txt').read_text()[-2000:]}")
            with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                connection = http.client.HTTPConnection(HOST, port, timeout=60)
                connection.request(
                    "GET" if who != FLOOR else "POST", "/health", b'{"data": []}' if who == FLOOR else None
                )
                connection.getresponse().read()
                break
            time.sleep(0.02)
        yield port, process.pid, time.perf_counter() - began
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def measure(table: Table, who: str, kind: str, folder: Path, body: Any, seconds: float) -> None:
    """One turn of one server."""
    path = "/invocations" if who in (MLFLOW, MLFLOW_TABLE) else "/score"
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    request = folder / "request.bin"
    request.write_bytes(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    with serving(who, folder) as (port, pid, first_answer_s):
        load(port, CLIENTS, WARM_UP_S, request)
        before = cpu_s(process_tree(pid))
        many = load(port, CLIENTS, seconds, request)
        spent = cpu_s(process_tree(pid)) - before
        one = load(port, 1, seconds / 2, request)
        memory = pss_mb(process_tree(pid))
    table.rounds[f"{kind}: requests/s, {CLIENTS} clients", who].append(many["count"] / many["seconds"])
    table.rounds[f"{kind}: ms of CPU for a request", who].append(1000 * spent / many["count"])
    table.rounds[f"{kind}: ms, one client, p50", who].append(1000 * one["p50_s"])
    table.rounds[f"{kind}: seconds from start to the first answer", who].append(first_answer_s)
    table.rounds[f"{kind}: MB of memory (PSS)", who].append(memory)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--quick", action="store_true", help="one round of a second")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/deploy.json"))
    chosen = options.parse_args()
    rounds, seconds = (1, 1.0) if chosen.quick else (chosen.rounds, chosen.seconds)
    table = Table()
    for kind, bar in (("ndarray", 20.0), ("DataFrame", 4.0)):
        table.bars[f"{kind}: requests/s, {CLIENTS} clients", MLFLOW] = ("≥", bar)
    table.bars[f"ndarray: requests/s, {CLIENTS} clients", FASTAPI] = ("≥", 2.0)
    table.bars["ndarray: ms, one client, p50", MLFLOW] = ("≥", 10.0)
    table.bars["ndarray: ms of CPU for a request", OURS] = ("≤", 0.2)
    table.bars["ndarray: MB of memory (PSS)", OURS] = ("≤", 200 * 1.048576)
    with tempfile.TemporaryDirectory(prefix="deploy-benchmark-") as made:
        folder = Path(made)
        bodies = make_models(folder)
        for number in range(rounds):
            for kind, by_server in bodies.items():
                for who in (OURS, MLFLOW, MLFLOW_TABLE, FASTAPI, FLOOR):
                    if who in (FLOOR, MLFLOW_TABLE) and kind != "ndarray":
                        continue
                    measure(table, who, kind, folder / kind, by_server[who], seconds)
                    print(f"round {number + 1}, {kind}, {who}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    table.show()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    report = [{"what": what, "who": who, "rounds": values} for (what, who), values in table.rounds.items()]
    chosen.output.write_text(json.dumps({"cpus": os.cpu_count(), "rows": report}, indent=2) + "\n")
    print(f"Load: {os.getloadavg()[0]:.1f}. Written to {chosen.output}")


if __name__ == "__main__":
    main()
