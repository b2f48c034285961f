"""The same MLflow calls against an embedded workspace and MLflow's own SQLite store, taking turns in one process.

    python benchmarks/compare.py [--quick] [--rounds 30] [--runs 5000] [--output benchmarks/results/compare.json]

Prints the median of each call in both stores, the ratio of the medians, and the bar it was built to meet. The turns
make the ratio hold on a machine whose speed drifts; the times alone don't travel.
"""

import argparse
import gc
import json
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from mlflow_amlstore.core import Workspace

NOW_MS = 1_800_000_000_000
HISTORY_POINTS = 20_000


@dataclass
class Row:
    call: str
    workspace_ms: float
    mlflow_ms: float
    ratio: float
    bar: float | None


class Side:
    """One store, prepared for all the calls."""

    def __init__(self, uri: str, runs: int) -> None:
        self.uri = uri
        self.client = MlflowClient(uri)
        self.experiment = self.client.create_experiment("calls")
        self.run_id = self.new_run()
        self.counter = 0
        self.history_run = self.new_run()
        for start in range(0, HISTORY_POINTS, 1000):
            metrics = [Metric("loss", float(step), NOW_MS + step, step) for step in range(start, start + 1000)]
            self.client.log_batch(self.history_run, metrics=metrics)
        self.searched = self.client.create_experiment("searched")
        numbers = random.Random(7)
        for index in range(runs):
            run_id = self.client.create_run(self.searched).info.run_id
            self.client.log_batch(
                run_id,
                metrics=[Metric(f"m{number}", numbers.random(), NOW_MS, 0) for number in range(5)],
                params=[Param(f"p{number}", str(index % 7)) for number in range(5)],
            )

    def new_run(self) -> str:
        return str(self.client.create_run(self.experiment).info.run_id)

    def next(self) -> int:
        self.counter += 1
        return self.counter

    def log_metric(self) -> None:
        step = self.next()
        self.client.log_metric(self.run_id, "loss", 0.5, timestamp=NOW_MS + step, step=step)

    def fluent_log_metric(self) -> None:
        mlflow.log_metric("fluent", 0.5, step=self.next())

    def log_metrics_of_10(self) -> None:
        step = self.next()
        self.client.log_batch(self.run_id, metrics=[Metric(f"m{n}", 0.5, NOW_MS + step, step) for n in range(10)])

    def log_param(self) -> None:
        self.client.log_param(self.run_id, f"p{self.next()}", "value")

    def log_batch_of_1000(self) -> None:
        first = self.next() * 1000
        metrics = [Metric("batch", 0.5, NOW_MS + step, step) for step in range(first, first + 1000)]
        self.client.log_batch(self.run_id, metrics=metrics)

    def log_batch_of_1000_names(self) -> None:
        step = self.next()
        self.client.log_batch(self.run_id, metrics=[Metric(f"n{n}", 0.5, NOW_MS + step, step) for n in range(1000)])

    def whole_run(self) -> None:
        run_id = self.new_run()
        self.client.log_batch(
            run_id,
            metrics=[Metric(f"m{number}", 0.5, NOW_MS, 0) for number in range(5)],
            params=[Param(f"p{number}", "value") for number in range(5)],
        )
        self.client.set_terminated(run_id)

    def history(self) -> None:
        found = self.client.get_metric_history(self.history_run, "loss")
        if len(found) != HISTORY_POINTS:
            raise RuntimeError(f"the history has {len(found)} points, not {HISTORY_POINTS}")

    def top_100(self) -> None:
        self.client.search_runs(
            [self.searched],
            "metrics.m1 > 0.5 AND params.p1 = '3'",
            order_by=["metrics.m2 DESC"],
            max_results=100,
        )

    def page_of_1000(self) -> None:
        self.client.search_runs([self.searched], max_results=1000)


CALLS: list[tuple[str, Callable[[Side], None], int, float | None]] = [
    ("log_metric", Side.log_metric, 10, 12),
    ("log_metrics of 10", Side.log_metrics_of_10, 5, 15),
    ("log_param", Side.log_param, 5, 12),
    ("log_batch of 1000 metrics, one name", Side.log_batch_of_1000, 1, 16),
    ("log_batch of 1000 metrics, 1000 names", Side.log_batch_of_1000_names, 1, None),
    ("create + log_batch + finish a run", Side.whole_run, 3, 12),
    ("history of 20 000 points", Side.history, 1, 5),
    ("top 100 of the runs by metric, filtered", Side.top_100, 1, 8),
    ("one page of 1 000 runs, 5 metrics and 5 params", Side.page_of_1000, 1, 8),
]


def time_calls(call: Callable[[Side], None], side: Side, repeats: int) -> float:
    """Milliseconds of one call, averaged over a few in a row."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(repeats):
        call(side)
    return (time.perf_counter() - start) * 1000 / repeats


def compare(
    name: str, call: Callable[[Side], None], repeats: int, bar: float | None, sides: tuple[Side, Side], rounds: int
) -> Row:
    for side in sides:
        call(side)
    times = [[time_calls(call, side, repeats) for side in sides] for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return Row(name, ours, theirs, theirs / ours, bar)


def fluent(sides: tuple[Side, Side], rounds: int) -> Row:
    """`mlflow.log_metric` in an active run: what a training script calls, with MLflow's own share of it."""
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for side, column in zip(sides, times, strict=True):
            mlflow.set_tracking_uri(side.uri)
            mlflow.set_experiment("calls")
            with mlflow.start_run():
                side.fluent_log_metric()
                column.append(time_calls(Side.fluent_log_metric, side, 10))
    ours, theirs = map(statistics.median, times)
    return Row("mlflow.log_metric in an active run", ours, theirs, theirs / ours, None)


def print_table(rows: list[Row]) -> None:
    print(f"{'call':48} {'workspace':>12} {'MLflow':>12} {'ratio':>8} {'bar':>7}")
    for row in rows:
        bar = f"≥ {row.bar:g}×" if row.bar else ""
        print(f"{row.call:48} {row.workspace_ms:9.3f} ms {row.mlflow_ms:9.3f} ms {row.ratio:7.1f}× {bar:>7}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--runs", type=int, default=5000, help="runs in the searched experiment")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/compare.json"))
    options.add_argument("--quick", action="store_true", help="the same table in two minutes: fewer rounds, fewer runs")
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(rounds=5, runs=300)  # what else is given holds
        chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder, "workspace"))
        uris = (workspace.get_mlflow_tracking_uri(), f"sqlite:///{folder}/mlflow.db")
        sides = (Side(uris[0], chosen.runs), Side(uris[1], chosen.runs))
        rows = [compare(*call, sides, chosen.rounds) for call in CALLS]
        rows.append(fluent(sides, chosen.rounds))
        print_table(rows)
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        about = {"mlflow": mlflow.__version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        chosen.output.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
        print(f"Written to {chosen.output}")


if __name__ == "__main__":
    main()
