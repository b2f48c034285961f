"""`amlstore cancel RUN…`."""

import time

import click

from mlflow_amlstore.cli.interrupt import ends_on_interrupt
from mlflow_amlstore.cli.run_fields import complete_run, find_run, named_run, outcome
from mlflow_amlstore.cli.workspace_option import with_workspace
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunRecord, RunStatus

_LOOKED_EVERY_S = 0.05


@click.command("cancel")
@with_workspace
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--wait", is_flag=True, help="Return when they have ended.")
def command(workspace: Workspace, runs: tuple[str, ...], wait: bool) -> None:
    """Cancel runs: RUN is an id, or as much of its beginning as is unique.

    The script of a submitted run is told to end, with all that it started, and is killed some seconds later. Any other
    run is marked Canceled; the process that logs into it isn't ours to end, and goes on.
    """
    found = [find_run(workspace.records, given) for given in runs]  # a slip in one of them cancels none
    canceled = [run for run in found if _cancel(workspace, run)]
    if wait:
        with ends_on_interrupt():
            for run in canceled:
                _wait(workspace, run)


def _cancel(workspace: Workspace, record: RunRecord) -> bool:
    """Cancel a run and say so; return whether it is to end yet."""
    run = workspace.get_run(record.info.run_id)
    status = RunStatus(run.get_status())
    if status in ENDED:
        click.echo(f"Had ended already: {named_run(record)} is {status.value}")
        return False
    run.cancel()
    if isinstance(run, ScriptRun):
        click.echo(f"Canceling {named_run(record)}")
        return True
    click.echo(f"Marked Canceled: {named_run(record)}. It wasn't submitted: a process that logs into it goes on")
    return False


def _wait(workspace: Workspace, record: RunRecord) -> None:
    run = workspace.get_run(record.info.run_id)
    while RunStatus(run.get_status()) not in ENDED:
        time.sleep(_LOOKED_EVERY_S)
    click.echo(f"Ended: {outcome(workspace.records.runs.get(run.id))}")
