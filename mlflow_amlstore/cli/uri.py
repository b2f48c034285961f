"""`amlstore uri`."""

from pathlib import Path

import click

from mlflow_amlstore.cli.workspace_option import workspace_option
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.workspace.config_json import config_of


@click.command("uri")
@click.option("--url", help="Of the service at this address, instead of the workspace that config.json names.")
@workspace_option
def command(url: str | None, workspace: Path | None) -> None:
    """Print a fresh tracking URI, and nothing else: export MLFLOW_TRACKING_URI=$(amlstore uri)

    That of a service has a token in it: whoever sees it can log until it expires.
    """
    if url is not None and workspace is not None:
        raise click.UsageError("--url and --workspace are two places; give one")
    if url is not None:
        opened = Workspace.from_url(url)
    else:
        opened = Workspace.from_config(None if workspace is None else config_of(workspace).file)
    click.echo(opened.get_mlflow_tracking_uri())
