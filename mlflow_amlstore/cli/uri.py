"""`amlstore uri`."""

from pathlib import Path

import click

from mlflow_amlstore.cli.workspace_option import check_one_place, url_option, workspace_option
from mlflow_amlstore.core import Workspace
from mlflow_amlstore.workspace.config_json import config_of


@click.command("uri")
@url_option
@workspace_option
def command(url: str | None, workspace: Path | None) -> None:
    """Print a fresh tracking URI, and nothing else: export MLFLOW_TRACKING_URI=$(amlstore uri)

    Where there is none, MLflow refuses what is printed in its place, and says why. `set -e` doesn't see the failure in
    that line; in MLFLOW_TRACKING_URI=$(amlstore uri); export MLFLOW_TRACKING_URI it does.

    That of a service has a token in it. Whoever sees it can make the calls of MLflow and of run history that the key's
    role allows, at most a contributor's: read and log, make and delete experiments, runs and models. They can do so
    until it expires, or for 30 days if they renew it, or until the key behind it is revoked. It never opens keys, what
    the service counts, or its own description.
    """
    check_one_place(workspace, url)
    if url is not None:
        opened = Workspace.from_url(url)
    else:
        opened = Workspace.from_config(None if workspace is None else config_of(workspace).file)
    click.echo(opened.get_mlflow_tracking_uri())
