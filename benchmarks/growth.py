"""How figures grow with their data: 10², 10⁴ and 10⁵ runs in a workspace, 10⁴ and 10⁶ points in a series.

    python benchmarks/growth.py [--quick] [--runs 100 10000 100000] [--points 10000 1000000] [--output FILE]

A figure that should not depend on the data (logging, one page) is printed with its ratio to the smallest size; so is
one that may (a whole history), beside the growth of the data itself.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from mlflow_amlstore.core import Workspace

NOW_MS = 1_800_000_000_000


def median_ms(call: Callable[[int], object], repeats: int) -> float:
    times = []
    for index in range(repeats):
        start = time.perf_counter()
        call(index)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def with_runs(folder: Path, count: int) -> dict[str, float]:
    workspace = Workspace.create(folder)
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    experiment = client.create_experiment("many")
    for index in range(count):
        run_id = client.create_run(experiment).info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(f"m{number}", (index * 7919 % 1000) / 1000, NOW_MS, 0) for number in range(3)],
            params=[Param(f"p{number}", str(index % 50)) for number in range(3)],
        )
    run_id = client.create_run(experiment).info.run_id
    figures = {
        "create a run": median_ms(lambda _: client.create_run(experiment), 50),
        "log_metric": median_ms(lambda step: client.log_metric(run_id, "loss", 0.5, step=step), 200),
        "get a run": median_ms(lambda _: client.get_run(run_id), 50),
        "first page of 100 runs": median_ms(lambda _: client.search_runs([experiment], max_results=100), 20),
        "page of 100, filtered by a param": median_ms(
            lambda _: client.search_runs([experiment], "params.p1 = '3'", max_results=100), 10
        ),
        "top 100 by a metric": median_ms(
            lambda _: client.search_runs([experiment], order_by=["metrics.m1 DESC"], max_results=100), 5
        ),
        "disk, bytes a run": disk_bytes(folder) / count,
    }
    workspace.close()
    return figures


def with_points(folder: Path, count: int) -> dict[str, float]:
    workspace = Workspace.create(folder)
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run(client.create_experiment("long")).info.run_id
    for start in range(0, count, 1000):
        metrics = [Metric("loss", 1 / (step + 1), NOW_MS + step * 250, step) for step in range(start, start + 1000)]
        client.log_batch(run_id, metrics=metrics)
    store = client._tracking_client.store
    run = workspace.get_run(run_id)
    figures = {
        "log_metric": median_ms(
            lambda more: client.log_metric(
                run_id, "loss", 0.5, timestamp=NOW_MS + (count + more) * 250, step=count + more
            ),
            300,
        ),
        "get the run": median_ms(lambda _: client.get_run(run_id), 50),
        "sample of 320 points": median_ms(
            lambda _: store.get_metric_history_bulk_interval([run_id], "loss", 320, None, None), 3
        ),
        "whole history, by MLflow": median_ms(lambda _: client.get_metric_history(run_id, "loss"), 1),
        "whole history, by run.get_metrics()": median_ms(lambda _: run.get_metrics("loss"), 1),
    }
    workspace.close()
    figures["disk, bytes"] = disk_bytes(folder)
    figures["disk, bytes a point"] = figures["disk, bytes"] / count
    return figures


def report(unit: str, measured: dict[int, dict[str, float]]) -> None:
    sizes = list(measured)
    print(f"\n{'':36}" + "".join(f"{f'{size:,} {unit}':>24}" for size in sizes))
    for name in measured[sizes[0]]:
        smallest = measured[sizes[0]][name]
        cells = [f"{measured[size][name]:>14,.3f} {measured[size][name] / smallest:>6.1f}× " for size in sizes]
        print(f"{name:36}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"{'the data itself':36}" + "".join(f"{size / sizes[0]:>22.0f}× " for size in sizes))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, nargs="+", default=[100, 10_000, 100_000])
    options.add_argument("--points", type=int, nargs="+", default=[10_000, 1_000_000])
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/growth.json"))
    options.add_argument("--quick", action="store_true", help="the same table in two minutes: up to 10 000 runs")
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(runs=[100, 10_000])  # what else is given holds
        chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {count: with_runs(Path(folder, f"runs-{count}"), count) for count in chosen.runs}
        report("runs", runs)
        points = {count: with_points(Path(folder, f"points-{count}"), count) for count in chosen.points}
        report("points", points)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({"runs": runs, "points": points}, indent=2) + "\n")
    print(f"\nTimes in ms. Written to {chosen.output}")


if __name__ == "__main__":
    main()
