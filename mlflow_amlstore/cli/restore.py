"""`amlstore restore RUN…`."""

from pathlib import Path

import click

from mlflow_amlstore.cli.run_fields import find_run, named_run
from mlflow_amlstore.cli.workspace_option import open_chosen, workspace_option


@click.command("restore")
@workspace_option
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
def command(workspace: Path | None, runs: tuple[str, ...]) -> None:
    """Bring deleted runs back: RUN is an id, or as much of its beginning as is unique.

    `amlstore runs --deleted` lists them.
    """
    records = open_chosen(workspace).records
    for run in [find_run(records, given) for given in runs]:
        if run.info.deleted_ms is not None:
            records.runs.restore(run.info.run_id)
        click.echo(f"{'Restored' if run.info.deleted_ms is not None else 'Was not deleted:'} {named_run(run)}")
