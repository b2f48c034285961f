"""A workspace with one of everything that a page shows, and with names that no page may take for markup."""

import base64
import json
import math
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import LoggedValues, MetricKind, RunError, RunStatus
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

EVIL = "<script>document.title='taken'</script>\u202egnp.exe<img src=x onerror=alert(1)>"
"""A name that must be shown as the text that it is."""
STARTED_MS = 1_790_000_000_000
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFklEQVR4nGP8z4APMOGVZRiVxgLgAQCoFwEPrqHxEwAAAABJRU5ErkJggg=="
)


class Filled(NamedTuple):
    """The folder, and ids of what is in it."""

    folder: Path
    experiment: str
    best: str  # of the sweep, by the minimum of its metric
    sweep: list[str]
    parent: str
    children: list[str]
    kinds: str
    failed: str
    running: str
    odd: str


def fill(folder: Path) -> Filled:
    """Make the workspace."""
    create_workspace(folder)
    opened = open_folder(folder)
    records = opened.records
    experiment = records.experiments.create("ridge sweep", tags={"team": "vision"})
    sweep = [_run_of_sweep(records, experiment, number) for number in range(12)]
    parent = _run(records, experiment, "parent")
    children = [_child(records, experiment, parent, number) for number in range(3)]
    filled = Filled(
        folder=folder,
        experiment=experiment,
        best=sweep[7],
        sweep=sweep,
        parent=parent,
        children=children,
        kinds=_every_kind(records, experiment),
        failed=_failed(records, experiment),
        running=_run(records, experiment, "still running", status=RunStatus.RUNNING),
        odd=_odd(records),
    )
    for number in range(2):
        source = f"workspace:/{run_container(experiment, filled.kinds)}/model"
        records.models.register("ridge model.json", source, run_id=filled.kinds, tags={"round": str(number)})
    records.models.set_alias("ridge model.json", "champion", 2)
    opened.records.close()
    return filled


def _run(
    records: RecordStore,
    experiment: str,
    name: str,
    *,
    status: RunStatus = RunStatus.COMPLETED,
    parent: str | None = None,
) -> str:
    run = records.runs.create(
        experiment, name=name, user_id="ana", start_ms=STARTED_MS, parent_run_id=parent, tags={"stage": "candidate"}
    )
    if status is not RunStatus.RUNNING:
        records.runs.update(run.info.run_id, status=status, end_ms=STARTED_MS + 252_000)
    return run.info.run_id


def _run_of_sweep(records: RecordStore, experiment: str, number: int) -> str:
    rng = random.Random(number)
    run_id = _run(records, experiment, f"ridge {number}")
    lowest = 3000.0 if number == 7 else 3100.0 + number * 10
    losses = [3300 + 1800 * math.exp(-step / 30) + rng.random() * 40 for step in range(150)]
    losses[100] = lowest
    points = [("mse", value, step, STARTED_MS + step * 1000) for step, value in enumerate(losses)]
    points += [("r2", 0.4 - 0.3 * math.exp(-step / 30), step, STARTED_MS + step * 1000) for step in range(150)]
    records.runs.log(run_id, points=points, params=[("alpha", f"{0.03 * (number + 1):.2f}"), ("solver", "auto")])
    return run_id


def _child(records: RecordStore, experiment: str, parent: str, number: int) -> str:
    run_id = _run(records, experiment, f"fold {number}", parent=parent)
    records.runs.log(run_id, points=[("fold mse", 4000.0 + number, 0, STARTED_MS)])
    return run_id


def _every_kind(records: RecordStore, experiment: str) -> str:
    run_id = _run(records, experiment, "every kind")
    container = run_container(experiment, run_id)
    values: list[LoggedValues] = []

    def log(name: str, kind: MetricKind, cells: object) -> None:
        values.append(LoggedValues(name, kind, cells, None, STARTED_MS))  # type: ignore[arg-type]

    def document(name: str, kind: MetricKind, schema: str, data: object) -> None:
        path = f"metrics/{name}.json"
        text = json.dumps({"schema_type": schema, "schema_version": "1.0.0", "data": data})
        records.files.write(container, path, BytesIO(text.encode()))
        log(name, kind, {"": [path]})

    log("list", MetricKind.LIST, {"": [math.cos(step / 8) for step in range(60)]})
    log("words", MetricKind.LIST, {"": ["warm", "up", EVIL]})
    angles = [step / 10 for step in range(60)]
    log("cosine", MetricKind.TABLE, {"angle": angles, "cos": list(map(math.cos, angles))})
    log("three columns", MetricKind.TABLE, {"a": angles, "b": [x * x for x in angles], "c": [-x for x in angles]})
    for name in ("first image", "second image"):
        records.files.write(container, f"{name}.png", BytesIO(PNG))
        log(name, MetricKind.IMAGE, {"": [f"{name}.png"]})
    document(
        "matrix", MetricKind.CONFUSION_MATRIX, "confusion_matrix",
        {"class_labels": ["cat", "dog"], "matrix": [[9, 1], [2, 8]]},
    )  # fmt: skip
    tables = [[[9, 9, 0, 0], [7, 2, 7, 2], [0, 0, 9, 9]]] * 2
    document(
        "accuracy", MetricKind.ACCURACY_TABLE, "accuracy_table",
        {"class_labels": ["cat", "dog"], "probability_tables": tables, "probability_thresholds": [0.0, 0.5, 1.0],
         "percentile_tables": tables, "percentile_thresholds": [0.0, 0.5, 1.0]},
    )  # fmt: skip
    document("residuals", MetricKind.RESIDUALS, "residuals", {"bin_edges": [-1, 0, 1], "bin_counts": [4, 5]})
    document(
        "predictions", MetricKind.PREDICTIONS, "predictions",
        {"bin_averages": [1, 2], "bin_errors": [0, 0], "bin_counts": [3, 3], "bin_edges": [0, 1, 2]},
    )  # fmt: skip
    records.metrics.log_values(run_id, values, descriptions={"list": "the cosine of a step"})
    records.runs.log(run_id, params=[("model", "ridge")])
    records.runs.set_tags(
        run_id, {"mlflow.note.content": f"# A note\n\n- with **Markdown**\n- and {EVIL}\n\n[x](javascript:alert(1))"}
    )
    mlmodel = 'signature:\n  inputs: \'[{"name": "age", "type": "double"}]\'\n  outputs: \'[{"type": "double"}]\'\n'
    notebook = {"cells": [
        {"cell_type": "markdown", "source": ["# Title\n", EVIL]},
        {"cell_type": "code", "source": "print(1)", "outputs": [
            {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n"]},
            {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode(), "text/html": EVIL}},
        ]},
    ], "nbformat": 4}  # fmt: skip
    for path, content in {
        "model/MLmodel": mlmodel,
        "model/model.pkl": "not a pickle",
        "outputs/notes.md": f"# Notes\n\n{EVIL}\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "outputs/table.csv": f"name,value\n{EVIL},1\n=cmd(),2\n",
        "outputs/data.json": json.dumps({"b": EVIL, "a": [1, 2]}),
        "outputs/log_table.json": json.dumps({"columns": ["input", "answer"], "data": [["2+2", "4"], [EVIL, "?"]]}),
        "outputs/notebook.ipynb": json.dumps(notebook),
        "outputs/picture.svg": '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><circle r="9"/></svg>',
        "outputs/not an image.png": EVIL,
        f"outputs/{EVIL.replace('/', '_')}.txt": EVIL,
        "user_logs/std_log.txt": "".join(f"epoch {number} \x1b[1mloss\x1b[0m\n" for number in range(500)),
    }.items():
        records.files.write(container, path, BytesIO(content.encode()))
    records.files.write(container, "outputs/picture.png", BytesIO(PNG))
    records.files.write(container, "outputs/bytes.bin", BytesIO(bytes(range(256))))
    return run_id


def _failed(records: RecordStore, experiment: str) -> str:
    run_id = _run(records, experiment, "failed", status=RunStatus.FAILED)
    records.runs.update(run_id, error=RunError("UserError", "ValueError: ill-conditioned matrix"))
    log = "Traceback (most recent call last):\n" + "  frame\n" * 30 + "ValueError: ill-conditioned matrix\n"
    records.files.write(run_container(experiment, run_id), "user_logs/std_log.txt", BytesIO(log.encode()))
    return run_id


def _odd(records: RecordStore) -> str:
    experiment = records.experiments.create(EVIL, tags={"odd": EVIL})
    run_id = _run(records, experiment, EVIL)
    name = "a/b.json"
    records.runs.log(
        run_id,
        points=[(name, float(step), step, STARTED_MS) for step in range(9)] + [("nan", math.nan, 0, STARTED_MS)],
        params=[("html", EVIL)],
        tags=[("html", EVIL), ("mlflow.user", EVIL)],
    )
    return run_id


Fill = Callable[[Path], Filled]
