"""A workspace with too much of everything, each beside a plain one of its kind, and with names made to do harm."""

import hashlib
import json
import sqlite3
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from filled_workspace import PNG, STARTED_MS

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

LOG = "user_logs/std_log.txt"
LOG_BYTES = 2 * 1024**3
LOG_LINES = 300_000
FILES = 100_000
NAMES = 5000
CSV_ROWS = 1_000_000
_ZEROS = bytes(1024 * 1024)


class Huge(NamedTuple):
    """The folder, and ids of what is in it."""

    folder: Path
    experiment: str
    plain: str
    files: str
    names: str
    contents: str


def fill(folder: Path) -> Huge:
    """Make the workspace."""
    create_workspace(folder)
    records = open_folder(folder).records
    experiment = records.experiments.create("huge")
    runs = {name: _run(records, experiment, name) for name in ("plain", "files", "names", "contents")}
    _log_names(records, runs["plain"], 12)
    _log_names(records, runs["names"], NAMES)
    huge = Huge(folder, experiment, **runs)
    plain = run_container(experiment, huge.plain)
    for path, content in {
        LOG: "".join(log_line(number) for number in range(2000)),
        "outputs/table.csv": csv_text(100),
        "outputs/data.json": json.dumps(list(range(1000))),
        "outputs/notebook.ipynb": notebook_text(4),
    }.items():
        records.files.write(plain, path, BytesIO(content.encode()))
    records.files.write(plain, "outputs/picture.png", BytesIO(PNG))
    records.files.write(run_container(experiment, huge.files), "flat/0", BytesIO(b"x"))
    records.close()
    _name_often(huge)
    _place_large(huge)
    return huge


def log_line(number: int) -> str:
    """A line of the logs, with a time, a level and a number of its own."""
    level = "WARNING" if number % 1000 == 999 else "INFO"
    return f"2026-11-28 14:{number // 60 % 60:02}:{number % 60:02},{number % 1000:03} {level} epoch {number} done\n"


def csv_text(rows: int) -> str:
    """A table of so many rows."""
    return "name,value\n" + "".join(f"row {number},{number}\n" for number in range(rows))


def notebook_text(cells: int) -> str:
    """A notebook of so many cells."""
    cell = {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]}
    return json.dumps({"cells": [{**cell, "source": f"print({number})"} for number in range(cells)], "nbformat": 4})


def _run(records: RecordStore, experiment: str, name: str) -> str:
    run = records.runs.create(experiment, name=name, user_id="ana", start_ms=STARTED_MS)
    records.runs.update(run.info.run_id, status=RunStatus.COMPLETED, end_ms=STARTED_MS + 1000)
    return run.info.run_id


def _log_names(records: RecordStore, run_id: str, count: int) -> None:
    for begin in range(0, count, 100):
        numbers = range(begin, min(begin + 100, count))
        records.runs.log(
            run_id,
            points=[
                (f"layer {number:04}/loss", float(number + step), step, STARTED_MS)
                for number in numbers
                for step in (0, 1)
            ],
            params=[(f"param {number:04}", str(number)) for number in numbers],
            tags=[(f"tag {number:04}", str(number)) for number in numbers],
        )


def _name_often(huge: Huge) -> None:
    """A folder of as many files, all of one content, and a tree as deep: by SQL, since one by one takes minutes."""
    container = run_container(huge.experiment, huge.files)
    deep = "/".join(f"level {depth}" for depth in range(60))
    paths = [f"flat/file {number:06}.txt" for number in range(FILES - 1)]
    paths += [f"{deep}/bottom.txt", "long/" + "n" * 250]
    with sqlite3.connect(huge.folder / "records.db") as database:
        (row,) = database.execute("SELECT * FROM files WHERE container = ?", (container,)).fetchall()
        marks = ",".join("?" * len(row))
        database.executemany(f"INSERT INTO files VALUES ({marks})", [(row[0], path, *row[2:]) for path in paths])
    database.close()


def _place_large(huge: Huge) -> None:
    """Files that are large, and sparse: a beginning and an end with nothing but zeros between."""
    lines = "".join(log_line(number) for number in range(LOG_LINES)).encode()
    middle = len(lines) // 2
    notebook = notebook_text(60_000).encode()
    for path, head, tail, size_bytes in (
        (LOG, lines[:middle], lines[middle:], LOG_BYTES),
        ("outputs/table.csv", csv_text(CSV_ROWS).encode(), b"", 0),
        ("outputs/data.json", json.dumps(list(range(100_000))).encode()[:-1] + b", 1", b"]", 200_000_000),
        ("outputs/notebook.ipynb", notebook, b"", 50_000_000),
        ("outputs/picture.png", PNG, b"", 100_000_000),
    ):
        _place(huge, path, head, tail, max(size_bytes, len(head) + len(tail)))


def _place(huge: Huge, path: str, head: bytes, tail: bytes, size_bytes: int) -> None:
    digest = hashlib.sha256(head)
    left = size_bytes - len(head) - len(tail)
    while left:
        digest.update(_ZEROS[: min(left, len(_ZEROS))])
        left -= min(left, len(_ZEROS))
    digest.update(tail)
    sha256 = digest.hexdigest()
    content = huge.folder / "files" / sha256[:2] / sha256
    content.parent.mkdir(exist_ok=True)
    with content.open("wb") as sink:
        sink.write(head)
        sink.truncate(size_bytes)
        sink.seek(size_bytes - len(tail))
        sink.write(tail)
    row = (run_container(huge.experiment, huge.contents), path, size_bytes, sha256, "text/plain", STARTED_MS, None)
    with sqlite3.connect(huge.folder / "records.db") as database:
        database.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    database.close()
