"""`amlstore gc`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_amlstore.cli.output import one_line, size_text
from mlflow_amlstore.cli.run_fields import named_run
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option
from mlflow_amlstore.records.types import TrashContents
from mlflow_amlstore.runner import deaths

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _milliseconds(_: click.Context, __: click.Parameter, value: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time such as 30d, 12h, 5m or 0s")
    return int(match[1]) * _UNITS_S[match[2]] * 1000


@click.command("gc")
@workspace_option
@click.option(
    "--older-than", callback=_milliseconds, default="0s", show_default=True, help="Deleted that long ago, as in 30d."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(workspace: Path | None, older_than: int, dry_run: bool, yes: bool) -> None:
    """Delete for good the experiments, runs and logged models that are deleted, with their metrics and files.

    Files that were uploaded to be registered as a model go too, a day later, where no model version is of them.
    """
    records = open_chosen(workspace).records
    contents = records.trash.list_deleted(older_than_ms=older_than)
    for line in _named(records, contents):
        click.echo(line)
    if dry_run:
        click.echo(f"{_counted(contents)} would be deleted")
        return
    if contents and not yes:
        click.confirm("Delete these for good? It can't be undone.", abort=True)
    freed = records.trash.empty(contents)
    deaths.remove_unused_locks(records)
    click.echo(f"Deleted {_counted(contents)}; {size_text(freed)} of files given back")


def _named(records: "RecordStore", contents: TrashContents) -> Iterator[str]:
    for experiment_id in contents.experiment_ids:
        yield f"experiment {experiment_id} ({one_line(records.experiments.get(experiment_id).name)})"
    for run_id in contents.run_ids:
        yield named_run(records.runs.get(run_id))
    for model_id in contents.model_ids:
        yield f"logged model {model_id} ({one_line(records.logged_models.get(model_id, allow_deleted=True).name)})"


def _counted(contents: TrashContents) -> str:
    return (
        f"{len(contents.experiment_ids)} experiments, {len(contents.run_ids)} runs and "
        f"{len(contents.model_ids)} logged models"
    )
