"""`amlstore restore RUN…`."""

import click

from mlflow_amlstore.cli.run_fields import complete_run, find_run, named_run
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore


@click.command("restore")
@with_records
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
def command(records: CommonStore, runs: tuple[str, ...]) -> None:
    """Bring deleted runs back: RUN is an id, or as much of its beginning as is unique.

    `amlstore runs --deleted` lists them.
    """
    for run in [find_run(records, given) for given in runs]:
        if run.info.deleted_ms is not None:
            records.runs.restore(run.info.run_id)
        click.echo(f"{'Restored' if run.info.deleted_ms is not None else 'Was not deleted:'} {named_run(run)}")
