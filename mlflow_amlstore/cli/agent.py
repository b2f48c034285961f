"""`amlstore agent --compute NAME`."""

import os
import signal
from pathlib import Path

import click

from mlflow_amlstore.cli.workspace_option import open_workspace, url_option, workspace_option
from mlflow_amlstore.errors import NotSupported

_KEY_VARIABLE = "AMLSTORE_KEY"


@click.command("agent")
@url_option
@workspace_option
@click.option("--compute", metavar="NAME", required=True, help="The pool that it works for; made if it isn't there.")
@click.option("--slots", type=click.IntRange(1), help="How many runs at a time. Default: this machine's cores.")
@click.option(
    "--trust-submitters",
    is_flag=True,
    help="Work beside the service, as its user: whoever may submit can then do all that this user can.",
)
def command(workspace: Path | None, url: str | None, compute: str, slots: int | None, trust_submitters: bool) -> None:
    """Run on this machine what is submitted to the compute target NAME of a service, until Ctrl+C.

    Its key is an agent's: `amlstore keys create NAME --role agent` makes one, and AMLSTORE_KEY names it here. Runs that
    it has started go on when it ends.
    """
    from mlflow_amlstore.client.connection import connection_of
    from mlflow_amlstore.runner.agent import Agent

    opened = open_workspace(workspace, url)
    if opened.path is not None:
        raise NotSupported("An agent of an embedded workspace", "`amlstore serve` it first, or submit to `local`")
    count = slots or os.cpu_count() or 1
    agent = Agent(connection_of(opened._root_uri), compute, count, trusts_submitters=trust_submitters)
    os.environ.pop(_KEY_VARIABLE, None)  # scripts needn't know it
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    click.echo(f"Working for {compute} with {count} {'slot' if count == 1 else 'slots'}")
    agent.work(goes_on=lambda: not ended, tell=click.echo)
    click.echo(f"Ended. {agent.running} of its runs go on")
