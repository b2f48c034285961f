"""`amlstore logs [-f] RUN`."""

import sys

import click

from mlflow_amlstore.cli.interrupt import ends_on_interrupt
from mlflow_amlstore.cli.run_fields import complete_run, find_run
from mlflow_amlstore.cli.workspace_option import with_workspace
from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.core.growing_logs import GrowingLogs, is_of_preparation
from mlflow_amlstore.errors import NotFound


@click.command("logs")
@with_workspace
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--file", "path", metavar="PATH", help="This file of the run alone.")
def command(workspace: Workspace, run: str, follow: bool, path: str | None) -> None:
    """Print the bytes of a run's logs: RUN is its id, or as much of its beginning as is unique.

    Printed is its script's output, of several processes the first one's, and before it on stderr the logs of the run's
    preparation. A run without these has all its logs printed. Their names go to stderr. Ctrl+C leaves the run alone.
    """
    found = workspace.get_run(find_run(workspace.records, run).info.run_id)
    with ends_on_interrupt():
        has_some = print_logs(found, path, follow=follow)
    if not has_some:
        kind = f"log of run {found.id}" if path is None else f"file of run {found.id}"
        raise NotFound(kind, path or "*", f"`amlstore show {found.id}` lists its files")


def print_logs(run: Run, path: str | None = None, *, follow: bool) -> bool:
    """Write the bytes of a run's logs to stdout as they are, and to stderr which log they are of.

    Logs of its preparation go to stderr, so that stdout has what the script printed and no more.
    Return whether there was any.
    """
    logs = GrowingLogs(run, path)
    named = ""
    for of, chunk in logs.until_its_end() if follow else logs.new():
        if of != named:
            named = of
            if path is None:
                click.echo(f"==> {of} <==", err=True)
        sink = sys.stderr if path is None and is_of_preparation(of) else sys.stdout
        sink.buffer.write(chunk)
        sink.buffer.flush()
    return bool(named)
