"""`amlstore queue`."""

import click

from mlflow_amlstore.cli.output import print_json, print_rows, time_text
from mlflow_amlstore.cli.workspace_option import with_records
from mlflow_amlstore.records.common_store import CommonStore

_COLUMNS = ["compute", "position", "run_id", "name", "experiment", "status", "since"]
_SHORTEN = {"run_id": 9, "since": 11, "name": 12, "experiment": 8}
_DROPPED = ["name", "experiment"]  # where the terminal is narrow


@click.command("queue")
@with_records
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(records: CommonStore, as_json: bool) -> None:
    """List the submitted runs that wait or run, by compute target.

    Position 1 is the one that starts next, of this workspace's. `since` is when a run started; of one that waits, when
    it was submitted.
    """
    entries = [entry for entry in records.runs.queue() if entry.target is not None]
    if as_json:
        print_json(
            [
                {
                    "run_id": entry.info.run_id,
                    "name": entry.info.name,
                    "experiment": entry.experiment,
                    "compute": entry.target,
                    "status": entry.info.status.value,
                    "position": entry.position,
                    "since_ms": entry.since_ms,
                }
                for entry in entries
            ]
        )
        return
    rows = [
        (
            entry.target,
            entry.position,
            entry.info.run_id,
            entry.info.name,
            entry.experiment,
            entry.info.status.value,
            time_text(entry.since_ms),
        )
        for entry in entries
    ]
    print_rows(_COLUMNS, rows, shorten=_SHORTEN, drop=_DROPPED)
