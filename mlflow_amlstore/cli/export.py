"""`amlstore export RUN DIR`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from mlflow_amlstore.cli.output import json_text
from mlflow_amlstore.cli.run_fields import complete_run, find_run, output_models, run_json
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import FileRecord, MetricKind, RunRecord


@click.command("export")
@with_records
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(records: CommonStore, run: str, folder: Path) -> None:
    """Copy a run into a new folder DIR: run.json, metrics.csv with every point, tables.json with lists, rows, tables
    and text, files/ and models/MODEL_ID/."""
    found = find_run(records, run)
    if folder.exists():
        raise InvalidValue("DIR", str(folder), "must not exist yet, so that nothing is overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: what an error leaves is removed with the temporary folder.
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        points, files = _write(records, found, partial)
        partial.rename(folder)
    click.echo(f"Exported run {found.info.run_id} to {folder}: {points} metric points, {files} files")


def _write(records: CommonStore, run: RunRecord, target: Path) -> tuple[int, int]:
    info = run.info
    experiment = records.experiments.get(info.experiment_id).name
    descriptions = records.metrics.descriptions(info.run_id)
    facts = {**run_json(run, experiment), "metric_descriptions": descriptions}
    (target / "run.json").write_text(json_text(facts) + "\n", encoding="utf-8")
    points = _write_metrics(records, run, target / "metrics.csv")
    _write_tables(records, run, target / "tables.json")
    container = run_container(info.experiment_id, info.run_id)
    own = records.files.list_all(container)
    _copy_files(records, container, own, target / "files")
    count = len(own)
    for model_id, container in output_models(run, own):
        files = records.files.list_all(container)
        _copy_files(records, container, files, target / "models" / model_id)
        count += len(files)
    return points, count


def _write_tables(records: CommonStore, run: RunRecord, target: Path) -> None:
    """Write the metrics that are more than MLflow's histories; no file where there are none."""
    tables = [
        {"name": metric.name, "kind": metric.kind.name.lower(), "columns": metric.columns}
        for metric in records.metrics.list_metrics(run.info.run_id)
        if metric.kind is not MetricKind.SCALAR or any(isinstance(value, str) for value in metric.columns[""])
    ]
    if tables:
        target.write_text(json_text(tables) + "\n", encoding="utf-8")


def _write_metrics(records: CommonStore, run: RunRecord, target: Path) -> int:
    count = 0
    with target.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(["name", "step", "timestamp_ms", "value"])
        for latest in run.metrics:
            for point in records.metrics.history(run.info.run_id, latest.name).items:
                writer.writerow([_no_formula(point.name), point.step, point.timestamp_ms, repr(point.value)])
                count += 1
    return count


def _no_formula(name: str) -> str:
    """A name that a spreadsheet takes for text (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _copy_files(records: CommonStore, container: str, files: Sequence[FileRecord], folder: Path) -> None:
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        records.files.download(container, file.path, target)
