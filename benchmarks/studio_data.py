"""The data that `studio.py` shows: the same runs for every interface, written where each of them keeps its own.

thousand   1 000 runs of 5 params and 5 metrics, 10 steps each
long       a run with one metric of 1 000 000 points, among them 500 planted spikes of random height, most of them small
fifty      50 runs with one metric of 10 000 points
many       100 000 runs of 3 params and 3 metrics, 2 steps each; a fifth of them are children, ten under a parent

Ours are logged by the record store, trackio's by its own storage, TensorBoard's into its event files. MLflow's are
inserted into its database, since its API would take hours for them; its store makes the database before.
"""

import math
import os
import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
STEP_MS = 250
AGO_MS = 10 * 24 * 3600 * 1000  # the data begins ten days ago
CHILDREN = 10
FAMILY = 5 * CHILDREN  # runs: a parent, its children, and others
POINTS_AT_ONCE = 900  # the record store takes 1000 values of all kinds
RUNS_AT_ONCE = 500


@dataclass(frozen=True)
class NewRun:
    """A run to write: its params, and the values of each metric from step 0. `parent` is the place of another run."""

    name: str
    metrics: dict[str, Sequence[float]]
    params: dict[str, str] = field(default_factory=dict)
    parent: int | None = None


@dataclass(frozen=True)
class Sizes:
    """How much data there is."""

    runs: int = 1000
    points: int = 1_000_000
    spikes: int = 500
    curves: int = 50
    curve_points: int = 10_000
    many: int = 100_000


@dataclass(frozen=True)
class Spike:
    """A planted value, so different from its neighbours that it is seen if it is drawn."""

    step: int
    value: float


def long_metric(sizes: Sizes) -> tuple[list[float], list[Spike]]:
    """The metric of a million points and the spikes in it. Their heights are 0.03 to 1, half of them below 0.06."""
    rng = random.Random(14)
    values = [math.exp(-4 * step / sizes.points) + rng.uniform(-0.01, 0.01) for step in range(sizes.points)]
    spikes = []
    for step in sorted(rng.sample(range(1, sizes.points - 1), sizes.spikes)):
        values[step] += rng.choice((-1, 1)) * min(1.0, 0.03 / (1 - rng.random()))
        spikes.append(Spike(step, values[step]))
    return values, spikes


def thousand(sizes: Sizes) -> Iterator[NewRun]:
    rng = random.Random(1)
    for number in range(sizes.runs):
        params = {f"p{each}": str(rng.randrange(20)) for each in range(5)}
        metrics = {f"m{each}": [rng.random() for _ in range(10)] for each in range(5)}
        yield NewRun(f"run {number}", metrics, params)


def long(sizes: Sizes) -> Iterator[NewRun]:
    yield NewRun("long", {"loss": long_metric(sizes)[0]})


def fifty(sizes: Sizes) -> Iterator[NewRun]:
    for number in range(sizes.curves):
        rng = random.Random(number)
        scale = 1 + number / 10
        values = [
            scale * math.exp(-3 * step / sizes.curve_points) + rng.random() / 10 for step in range(sizes.curve_points)
        ]
        yield NewRun(f"curve {number}", {"loss": values}, {"scale": f"{scale:g}"})


def many(sizes: Sizes) -> Iterator[NewRun]:
    rng = random.Random(2)
    parent = 0
    for number in range(sizes.many):
        of_family = number % FAMILY
        if of_family == 0:
            parent = number
        params = {f"p{each}": str(rng.randrange(20)) for each in range(3)}
        metrics = {f"m{each}": [rng.random(), rng.random()] for each in range(3)}
        yield NewRun(f"run {number}", metrics, params, parent if 0 < of_family <= CHILDREN else None)


DATA: dict[str, Callable[[Sizes], Iterator[NewRun]]] = {data.__name__: data for data in (thousand, long, fifty, many)}


@dataclass(frozen=True)
class Written:
    """Where a data set is: its experiment's id, or what a product has instead, and its runs' ids."""

    experiment: str
    runs: list[str]


def write_amlstore(folder: Path, name: str, runs: Iterator[NewRun]) -> Written:
    """Log into the workspace of `folder`, which is made."""
    from mlflow_amlstore.records.types import RunStatus
    from mlflow_amlstore.workspace.opening import create_workspace, open_folder

    workspace = folder / "workspace"
    if not (workspace / "config.json").exists():
        create_workspace(workspace)
    records = open_folder(workspace).records
    experiment = records.experiments.create(name)
    run_ids: list[str] = []
    began_ms = int(time.time() * 1000) - AGO_MS
    for group in in_groups(runs, RUNS_AT_ONCE):
        with records.transaction():
            for run in group:
                start_ms = began_ms + len(run_ids) * 1000
                parent = None if run.parent is None else run_ids[run.parent]
                run_id = records.runs.create(
                    experiment, name=run.name, user_id="ana", start_ms=start_ms, parent_run_id=parent
                ).info.run_id
                points = [
                    (metric, value, step, start_ms + step * STEP_MS)
                    for metric, values in run.metrics.items()
                    for step, value in enumerate(values)
                ]
                records.runs.log(run_id, points=points[:POINTS_AT_ONCE], params=list(run.params.items()))
                for first in range(POINTS_AT_ONCE, len(points), POINTS_AT_ONCE):
                    records.runs.log(run_id, points=points[first : first + POINTS_AT_ONCE])
                records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=start_ms + 60_000)
                run_ids.append(run_id)
    records.close()
    return Written(experiment, run_ids)


def write_mlflow(folder: Path, name: str, runs: Iterator[NewRun]) -> Written:
    """Insert into the SQLite database of `folder`, which MLflow's store makes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    store = SqlAlchemyStore(f"sqlite:///{database}", "mlflow-artifacts:/")
    experiment = str(store.create_experiment(name))
    store._dispose_engine()
    run_ids: list[str] = []
    began_ms = int(time.time() * 1000) - AGO_MS
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN")
    for run in runs:
        start_ms = began_ms + len(run_ids) * 1000
        run_id = uuid.uuid4().hex
        tags = {"mlflow.runName": run.name, "mlflow.user": "ana"}
        if run.parent is not None:
            tags["mlflow.parentRunId"] = run_ids[run.parent]
        insert(
            connection,
            "runs",
            [(run_id, run.name, "LOCAL", "", "", "ana", "FINISHED", start_ms, start_ms + 60_000, "", "active",
              f"mlflow-artifacts:/{experiment}/{run_id}/artifacts", int(experiment))],
            "run_uuid name source_type source_name entry_point_name user_id status start_time end_time source_version "
            "lifecycle_stage artifact_uri experiment_id",
        )  # fmt: skip
        for table, named in (("params", run.params), ("tags", tags)):
            insert(connection, table, [(key, value, run_id) for key, value in named.items()], "key value run_uuid")
        points = (
            (key, value, start_ms + step * STEP_MS, step, False, run_id)
            for key, values in run.metrics.items()
            for step, value in enumerate(values)
        )
        columns = "key value timestamp step is_nan run_uuid"
        insert(connection, "metrics", points, columns)
        latest = [
            (key, values[-1], start_ms + (len(values) - 1) * STEP_MS, len(values) - 1, False, run_id)
            for key, values in run.metrics.items()
        ]
        insert(connection, "latest_metrics", latest, columns)
        run_ids.append(run_id)
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.close()
    return Written(experiment, run_ids)


def insert(connection: sqlite3.Connection, table: str, rows: Any, columns: str) -> None:
    names = columns.split()
    marks = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608


def write_trackio(folder: Path, name: str, runs: Iterator[NewRun]) -> Written:
    """Log into trackio's storage in `folder`, a project for the data set."""
    os.environ["TRACKIO_DIR"] = str(folder)  # which trackio reads when it is imported
    folder.mkdir(parents=True, exist_ok=True)
    from datetime import datetime, timezone

    from trackio.sqlite_storage import SQLiteStorage

    names = []
    began_s = time.time() - AGO_MS / 1000
    for run in runs:
        length = max(map(len, run.metrics.values()))
        rows = [{metric: values[step] for metric, values in run.metrics.items()} for step in range(length)]
        times = [
            datetime.fromtimestamp(began_s + len(names) + step * STEP_MS / 1000, timezone.utc).isoformat()
            for step in range(length)
        ]
        SQLiteStorage.bulk_log(
            name, run.name, rows, steps=list(range(length)), timestamps=times, config=dict(run.params)
        )
        names.append(run.name)
    return Written(name, names)


def write_tensorboard(folder: Path, name: str, runs: Iterator[NewRun]) -> Written:
    """Write event files, a folder for each run."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    names = []
    began_s = time.time() - AGO_MS / 1000
    for run in runs:
        writer = EventFileWriter(str(folder / name / run.name))
        for step in range(max(map(len, run.metrics.values()))):
            values = [Summary.Value(tag=metric, simple_value=of[step]) for metric, of in run.metrics.items()]
            wall_time = began_s + len(names) + step * STEP_MS / 1000
            writer.add_event(Event(wall_time=wall_time, step=step, summary=Summary(value=values)))
        writer.close()
        names.append(run.name)
    return Written(name, names)


WRITERS: dict[str, Callable[[Path, str, Iterator[NewRun]], Written]] = {
    "amlstore": write_amlstore,
    "mlflow": write_mlflow,
    "trackio": write_trackio,
    "tensorboard": write_tensorboard,
}


def in_groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while group := list(islice(items, size)):
        yield group
