"""`amlstore delete RUN…`."""

import click

from mlflow_amlstore.cli.run_fields import complete_run, find_run, named_run
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore


@click.command("delete")
@with_records
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
def command(records: CommonStore, runs: tuple[str, ...]) -> None:
    """Delete runs: RUN is an id, or as much of its beginning as is unique.

    `amlstore restore` brings them back, until `amlstore gc` deletes them for good.
    """
    for run in [find_run(records, given) for given in runs]:  # a slip in one of them deletes none
        if run.info.deleted_ms is None:
            records.runs.delete(run.info.run_id)
        click.echo(f"{'Deleted' if run.info.deleted_ms is None else 'Was deleted already:'} {named_run(run)}")
