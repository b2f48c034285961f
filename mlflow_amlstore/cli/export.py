"""`amlstore export RUN DIR`."""

import csv
import json
from pathlib import Path

import click

from mlflow_amlstore.cli.run_fields import find_run, run_json
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import logged_model_container, run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ModelDirection, RunRecord


@click.command("export")
@workspace_option
@click.argument("run", metavar="RUN")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(workspace: Path | None, run: str, folder: Path) -> None:
    """Copy a run into a new folder DIR: run.json, metrics.csv with every point, files/ and models/MODEL_ID/."""
    records = open_chosen(workspace).records
    found = find_run(records, run)
    if folder.exists():
        raise InvalidValue("DIR", str(folder), "must not exist yet, so that nothing is overwritten")
    partial = folder.with_name(f"{folder.name}.part")
    partial.mkdir(parents=True)
    experiment = records.experiments.get(found.info.experiment_id).name
    (partial / "run.json").write_text(json.dumps(run_json(found, experiment), indent=2) + "\n", encoding="utf-8")
    points = _write_metrics(records, found, partial / "metrics.csv")
    info = found.info
    files = _copy_files(records, run_container(info.experiment_id, info.run_id), partial / "files")
    for model in found.models:
        if model.direction is ModelDirection.OUTPUT:
            container = logged_model_container(info.experiment_id, model.model_id)
            files += _copy_files(records, container, partial / "models" / model.model_id)
    partial.rename(folder)
    click.echo(f"Exported run {info.run_id} to {folder}: {points} metric points, {files} files")


def _write_metrics(records: RecordStore, run: RunRecord, target: Path) -> int:
    count = 0
    with target.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(["name", "step", "timestamp_ms", "value"])
        for latest in run.metrics:
            for point in records.metrics.history(run.info.run_id, latest.name).items:
                writer.writerow([point.name, point.step, point.timestamp_ms, repr(point.value)])
                count += 1
    return count


def _copy_files(records: RecordStore, container: str, folder: Path) -> int:
    files = records.files.list_all(container)
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        records.files.download(container, file.path, target)
    return len(files)
