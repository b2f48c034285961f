"""`amlstore show RUN`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from mlflow_amlstore.cli.output import print_json, print_rows, size_text, text, time_text
from mlflow_amlstore.cli.run_fields import find_run, output_models, run_json
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import FileRecord, RunFilter, RunRecord


@click.command("show")
@workspace_option
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(workspace: Path | None, run: str, as_json: bool) -> None:
    """Show a run whole: RUN is its id, or as much of its beginning as is unique."""
    records = open_chosen(workspace).records
    found = find_run(records, run)
    experiment = records.experiments.get(found.info.experiment_id).name
    files = _files(records, found)
    children = [child.info.run_id for child in records.runs.find(RunFilter(of=found.info.run_id)).items][::-1]
    if as_json:
        listed = [{"path": path, "size_bytes": file.size_bytes, "sha256": file.sha256} for path, file in files.items()]
        print_json({**run_json(found, experiment), "files": listed, "children": children})
        return
    _print_facts(found, experiment, children)
    _print_named("Params", found.params)
    _print_named("Properties", found.properties)
    if found.metrics:
        rows = [(point.name, text(point.value), point.step, time_text(point.timestamp_ms)) for point in found.metrics]
        _print_section("Metrics (latest)", ["name", "value", "step", "time"], rows)
    _print_named("Tags", found.tags)
    if found.datasets:
        used = [
            (given.dataset.name, given.dataset.digest, given.tags.get("mlflow.data.context"))
            for given in found.datasets
        ]
        _print_section("Datasets", ["name", "digest", "context"], used)
    if files:
        listed_files = [(path, size_text(file.size_bytes), file.content_type) for path, file in files.items()]
        _print_section("Files", ["path", "size", "type"], listed_files)


def _files(records: RecordStore, run: RunRecord) -> dict[str, FileRecord]:
    """The run's files, and those of the models that came out of it under `models/MODEL_ID/`."""
    info = run.info
    found = {file.path: file for file in records.files.list_all(run_container(info.experiment_id, info.run_id))}
    for model_id, container in output_models(run):
        found.update((f"models/{model_id}/{file.path}", file) for file in records.files.list_all(container))
    return found


def _print_facts(run: RunRecord, experiment: str, children: list[str]) -> None:
    info = run.info
    facts = {
        "run_id": info.run_id,
        "name": info.name,
        "experiment": f"{experiment} ({info.experiment_id})",
        "status": info.status.value + (" (deleted)" if info.deleted_ms is not None else ""),
        "user": info.user_id,
        "start": time_text(info.start_ms),
        "end": time_text(info.end_ms),
        "parent run": info.parent_run_id,
        "child runs": ", ".join(children),
    }
    _print_named("Run", {name: value for name, value in facts.items() if value})


def _print_named(title: str, values: Mapping[str, str]) -> None:
    if values:
        _print_section(title, ["name", "value"], list(values.items()))


def _print_section(title: str, columns: list[str], rows: Sequence[Sequence[object]]) -> None:
    click.echo(f"\n{title}")
    print_rows(columns, rows, wrap=["value"] if columns == ["name", "value"] else ())
