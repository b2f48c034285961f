"""`amlstore init [DIR]`."""

from pathlib import Path

import click

from mlflow_amlstore.workspace.opening import create_workspace


@click.command("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--name", help="The workspace's name. Default: the folder's.")
def command(folder: Path, name: str | None) -> None:
    """Make an embedded workspace in DIR (the current folder by default), with its config.json.

    A workspace that is there already stays as it is.
    """
    is_new = not (folder / "records.db").exists()
    opened = create_workspace(folder, name)
    click.echo(f"{'Made' if is_new else 'Found'} a workspace in {opened.folder}")
    if name and not is_new:
        click.echo("It keeps the name it has; --name is for a new one")
    click.echo(f"Tracking URI: {opened.root_uri}")
