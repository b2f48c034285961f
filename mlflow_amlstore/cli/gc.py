"""`amlstore gc`."""

import re
from pathlib import Path

import click

from mlflow_amlstore.cli.output import size_text
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option

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
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(workspace: Path | None, older_than: int, yes: bool) -> None:
    """Delete for good the experiments, runs and logged models that are deleted, with their metrics and files.

    Files that were uploaded to be registered as a model go too, a day later, where no model version is of them.
    """
    trash = open_chosen(workspace).records.trash
    contents = trash.list_deleted(older_than_ms=older_than)
    for kind, ids in (
        ("experiment", contents.experiment_ids),
        ("run", contents.run_ids),
        ("logged model", contents.model_ids),
    ):
        for thing in ids:
            click.echo(f"{kind} {thing}")
    if contents and not yes:
        click.confirm("Delete these for good? It can't be undone.", abort=True)
    freed = trash.empty(contents)
    click.echo(
        f"Deleted {len(contents.experiment_ids)} experiments, {len(contents.run_ids)} runs and "
        f"{len(contents.model_ids)} logged models; {size_text(freed)} of files given back"
    )
