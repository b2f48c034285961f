"""The command line `amlstore`, one file per command, each loaded when it is called."""

import importlib
import io
import sys
from difflib import get_close_matches

import click

from mlflow_amlstore import __version__
from mlflow_amlstore.errors import AmlStoreError

_COMMANDS = {
    "init": "Make an embedded workspace.",
    "doctor": "Check this installation and the workspace, and say what to do.",
    "experiments": "List experiments.",
    "runs": "List runs: filter, order, choose columns.",
    "show": "Show one run whole.",
    "compare": "Show which params and metrics differ between runs.",
    "plot": "Save the chart of one of a run's metrics.",
    "export": "Copy a run into a folder of plain files.",
    "delete": "Delete runs.",
    "restore": "Bring deleted runs back.",
    "gc": "Delete for good what is deleted.",
    "serve": "Share a workspace: serve it to other processes and machines.",
    "keys": "Make, list and revoke the keys of a service.",
    "login": "Keep a key for a service on this machine.",
    "logout": "Forget the key for a service.",
    "uri": "Print a fresh tracking URI.",
}


class _Commands(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}.command is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := get_close_matches(args[0], _COMMANDS):
                raise click.UsageError(f"{error.message} Did you mean `amlstore {close[0]}`?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amlstore")
def cli() -> None:
    """Workspaces for MLflow: a folder, or a service over one."""


def main() -> None:
    """Run the command line; an error of ours is one message on stderr and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where its encoding lacks a character, as stderr does
    try:
        cli()
    except AmlStoreError as error:
        click.echo(f"amlstore: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # the caller's own files: where an export can't be written, say
        click.echo(f"amlstore: {error}", err=True)
        sys.exit(1)
