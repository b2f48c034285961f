"""`Run`'s own calls beside trackio, `mlflow server` and the real azureml-core, with the bars they were built to meet.

    pip install -e '.[service,mlflow]' trackio
    python benchmarks/run_vocabulary.py [--quick] [--rounds 5] [--values 200000] [--azureml-core PYTHON]
        [--output benchmarks/results/run_vocabulary.json]

Everything takes turns in every round, and a figure is the median of its rounds. Each is taken in a process of its own
(`run_calls.py`), which ends at once when it has its figure; then what it logged is read back by another, and counted.
trackio writes to a folder of this machine, without a Space and with no network; its values are durable when
`trackio.finish` returns. `mlflow server` has its SQLite store and one worker, and gets batches of 1000 points from
MLflow's client. `import azureml.core` is timed where `--azureml-core` gives the Python of an environment that has it
(`python3.11 -m venv DIR && DIR/bin/pip install azureml-core`). A bar that isn't met is printed and fails nothing; a
value that isn't there does.
"""

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from run_calls import COLUMNS, POINTS, PROJECT, SERIES, TABLES
from service_loads import steps_of
from service_servers import Api, Running, clean_environment, running, wait_until_quiet
from service_table import MLFLOW, OURS, Bar, Row, note, notes
from service_table import number as as_text

from mlflow_amlstore.core import Workspace

CALLS = Path(__file__).with_name("run_calls.py")
TRACKIO, AZUREML = "trackio", "azureml-core"
RIVAL_VALUES = 20_000  # of `mlflow server`, where 200 000 would take most of the benchmark's time
LOG_US_VALUES = 50_000
ROW_STEPS = 1000
IMPORTS = 5


def row(
    what: str, unit: str, more_is_better: bool, bar: float, rival: str | None = None, times_mlflow: float = 0
) -> Row:
    return Row(what, unit, more_is_better, Bar(bar, times_mlflow), {name: [] for name in (OURS, rival) if name})


LOG_US = row("run.log, median, buffered", "µs", False, 6, TRACKIO)
EMBEDDED_LOG = row("run.log until durable, embedded", "/s", True, 150_000, TRACKIO)
SERVED_LOG = row("run.log until durable, service", "/s", True, 100_000, MLFLOW, times_mlflow=18)
EMBEDDED_READ = row(f"get_metrics of {SERIES} × {POINTS} points, embedded", "s", False, 1.0)
SERVED_READ = row(f"get_metrics of {SERIES} × {POINTS} points, service", "s", False, 1.0)
CELLS = ROW_STEPS * TABLES * COLUMNS
EMBEDDED_ROWS = row(f"{CELLS} log_row cells until durable, embedded", "s", False, 0.5)
SERVED_ROWS = row(f"{CELLS} log_row cells until durable, service", "s", False, 0.5)
IMPORT = row("import mlflow_amlstore.core", "ms", False, 150, AZUREML)
ROWS = [LOG_US, EMBEDDED_LOG, SERVED_LOG, EMBEDDED_READ, SERVED_READ, EMBEDDED_ROWS, SERVED_ROWS, IMPORT]


def call(environment: dict[str, str], task: str, *arguments: object) -> Any:
    """Run one task of `run_calls.py`."""
    command = [sys.executable, str(CALLS), task, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{task} failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def check(what: str, found: Any, expected: Any) -> None:
    """Raise RuntimeError if what was read back isn't what was logged."""
    if found != expected:
        size = f"{len(found)} values of {len(expected)}" if isinstance(found, list) else f"{found}, not {expected}"
        raise RuntimeError(f"{what}: read back were {size}, or others")


def measure_embedded(folder: Path, values: int) -> None:
    place = folder / "workspace"
    environment = {**clean_environment(folder), "MLFLOW_TRACKING_URI": f"amlstore://{place}"}
    Workspace.create(place).close()
    few = min(values, LOG_US_VALUES)
    quick = call(environment, "log_us", few)
    LOG_US.rounds[OURS].append(quick["us"])
    check_log(place, quick["run_id"], few)
    logged = call(environment, "log", values)
    EMBEDDED_LOG.rounds[OURS].append(values / logged["s"])
    check_log(place, logged["run_id"], values)
    measure_rows_and_reading(environment, place, EMBEDDED_ROWS, EMBEDDED_READ)


def measure_service(folder: Path, values: int) -> None:
    with running(OURS, folder) as server:
        environment = {**server.environment, "MLFLOW_TRACKING_URI": server.tracking_uri}
        place = folder / "workspace"
        wait_until_quiet(server)
        logged = call(environment, "log", values)
        SERVED_LOG.rounds[OURS].append(values / logged["s"])
        check_log(place, logged["run_id"], values)
        check_history(server, logged["run_id"], values)
        measure_rows_and_reading(environment, place, SERVED_ROWS, SERVED_READ)


def measure_rows_and_reading(environment: dict[str, str], place: Path, rows: Row, reading: Row) -> None:
    logged = call(environment, "log_row", ROW_STEPS)
    rows.rounds[OURS].append(logged["s"])
    metrics = metrics_of(place, logged["run_id"])
    for table in range(TABLES):
        for column in range(COLUMNS):
            expected = [float(step + column) for step in range(ROW_STEPS)]
            check("cells of a column", metrics[f"table{table}"][f"c{column}"], expected)
    filled = call(environment, "fill")
    reading.rounds[OURS].append(call(environment, "get_metrics", filled["run_id"])["s"])  # it compares them, too


def metrics_of(place: Path, run_id: str) -> dict[str, Any]:
    """A run's metrics, from the folder."""
    workspace = Workspace.create(place)
    try:
        return workspace.get_run(run_id).get_metrics()
    finally:
        workspace.close()


def check_log(place: Path, run_id: str, values: int) -> None:
    check("values", metrics_of(place, run_id)["loss"], [float(number) for number in range(values)])


def check_history(server: Running, run_id: str, values: int) -> None:
    """That MLflow's API has all points, too, each once."""
    check("points", sorted(steps_of(Api(server), run_id, "loss")), list(range(values)))


def measure_trackio(folder: Path, values: int) -> None:
    if find_spec("trackio") is None:
        note_once("trackio isn't installed: its figures are missing")
        return
    few = min(values, LOG_US_VALUES)
    for task, count in (("trackio_log_us", few), ("trackio_log", values)):
        place = folder / task
        of_others = ("TRACKIO_", "HF_", "HUGGING_FACE_", "SPACE_")
        kept = {key: value for key, value in clean_environment(folder).items() if not key.startswith(of_others)}
        environment = {**kept, "TRACKIO_DIR": str(place), "HF_HOME": f"{folder}/hf", "HF_HUB_OFFLINE": "1"}
        taken = call(environment, task, count)
        check("values of trackio", trackio_losses(place), [float(number) for number in range(count)])
        if task == "trackio_log_us":
            LOG_US.rounds[TRACKIO].append(taken["us"])
        else:
            EMBEDDED_LOG.rounds[TRACKIO].append(count / taken["s"])


def trackio_losses(place: Path) -> list[float]:
    with closing(sqlite3.connect(place / f"{PROJECT}.db")) as database:
        found = [json.loads(metrics) for (metrics,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    return [metrics["loss"] for metrics in found if "loss" in metrics]


def measure_mlflow(folder: Path, values: int) -> None:
    count = min(values, RIVAL_VALUES)
    with running(MLFLOW, folder) as server:
        wait_until_quiet(server)
        logged = call({**server.environment, "MLFLOW_TRACKING_URI": server.url}, "mlflow_log", count)
        SERVED_LOG.rounds[MLFLOW].append(count / logged["s"])
        check_history(server, logged["run_id"], count)


def measure_imports(azureml_python: Path | None) -> None:
    """Several fresh processes for each, in turn."""
    sides = {OURS: (Path(sys.executable), "mlflow_amlstore.core")}
    if azureml_python is None:
        note_once("--azureml-core isn't given: `import azureml.core` isn't timed")
    else:
        sides[AZUREML] = (azureml_python, "azureml.core")
    for name, (python, module) in list(sides.items()) * (1 + IMPORTS):
        code = f"import sys, time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1000)"
        code += "; print('mlflow' in sys.modules)"
        ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        ms, has_mlflow = ended.stdout.split()[-2:]
        if name == OURS:
            check("modules of MLflow", has_mlflow, "False")
        IMPORT.rounds[name].append(float(ms))
    for name in sides:  # the first may have compiled, and filled the system's caches
        del IMPORT.rounds[name][-1 - IMPORTS]


def note_once(text: str) -> None:
    if text not in notes:
        note(text)


HEAD = ["", "unit", "ours", "beside", "theirs", "ratio", "spread", "bar", "met"]
LEFT = (0, 1, 3, 7, 8)


def cells_of(figure: Row) -> list[str]:
    rival = next((name for name in figure.rounds if name != OURS), "")
    theirs = figure.median(rival) if rival else None
    times, spread, met = figure.times(rival) if rival else None, figure.spread(), figure.is_met()
    return [
        figure.what,
        figure.unit,
        as_text(figure.median(OURS)),
        rival,
        "" if theirs is None else as_text(theirs),
        "" if times is None else f"{times:.1f}×",
        "" if spread is None else f"{spread:.0%}",
        figure.bar_text(),
        "" if met is None else ("yes" if met else "no"),
    ]


def print_table() -> None:
    lines = [HEAD, *map(cells_of, ROWS)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    for line in lines:
        columns = enumerate(zip(line, widths, strict=True))
        print("  ".join(f"{cell:{'<' if at in LEFT else '>'}{width}}" for at, (cell, width) in columns).rstrip())
    for text in notes:
        print(f"Note: {text}")


def report(chosen: argparse.Namespace) -> dict[str, Any]:
    versions = {}
    for package in ("mlflow-amlstore", "mlflow", "trackio"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cpus": os.cpu_count(),
        **versions,
        "values": chosen.values,
        "notes": notes,
        "rows": [
            {
                "what": figure.what,
                "unit": figure.unit,
                **{name: figure.median(name) for name in figure.rounds},
                "bar": figure.bar_text(),
                "met": figure.is_met(),
                "rounds": figure.rounds,
            }
            for figure in ROWS
        ],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--values", type=int, default=200_000, help="of each log until durable")
    options.add_argument("--azureml-core", type=Path, metavar="PYTHON", help="of an environment that has azureml-core")
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/run_vocabulary.json"))
    options.add_argument("--quick", action="store_true", help="the same table in two minutes: one round")
    chosen = options.parse_args()
    if chosen.quick:
        options.set_defaults(rounds=1)  # what else is given holds
        chosen = options.parse_args()

    turns: dict[str, Callable[[Path], None]] = {
        "embedded": lambda folder: measure_embedded(folder, chosen.values),
        TRACKIO: lambda folder: measure_trackio(folder, chosen.values),
        "service": lambda folder: measure_service(folder, chosen.values),
        MLFLOW: lambda folder: measure_mlflow(folder, chosen.values),
        "imports": lambda _: measure_imports(chosen.azureml_core),
    }
    with tempfile.TemporaryDirectory(prefix="run-benchmark-") as scratch:
        for number in range(chosen.rounds):
            for name, turn in list(turns.items())[:: -1 if number % 2 else 1]:
                folder = Path(scratch, "turn")
                folder.mkdir()
                began = time.perf_counter()
                turn(folder)
                shutil.rmtree(folder)
                seconds = time.perf_counter() - began
                print(f"round {number + 1} of {chosen.rounds}, {name}, {seconds:.0f} s", file=sys.stderr, flush=True)
    print_table()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(report(chosen), indent=2) + "\n")
    print(f"Written to {chosen.output}")


if __name__ == "__main__":
    main()
