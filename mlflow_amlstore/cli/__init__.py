"""The command line `amlstore`, one file per command, each loaded when it is called."""

import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import click

from mlflow_amlstore import __version__
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.workspace.tracking_uri import of_failure

_COMMANDS = {
    "init": "Make an embedded workspace.",
    "doctor": "Check this installation and the workspace, and say what to do.",
    "submit": "Run a script of a folder as a run, which goes on by itself.",
    "queue": "List the submitted runs that wait or run.",
    "agent": "Run here what is submitted to a pool of a service.",
    "watch": "Watch a run until it ends: status, metrics, log.",
    "logs": "Print a run's logs, as they grow if asked to.",
    "cancel": "Cancel runs.",
    "experiments": "List experiments.",
    "runs": "List runs: filter, order, choose columns.",
    "show": "Show one run whole.",
    "compare": "Show which params and metrics differ between runs.",
    "plot": "Save the chart of one of a run's metrics.",
    "export": "Copy a run into a folder of plain files.",
    "delete": "Delete runs.",
    "restore": "Bring deleted runs back.",
    "gc": "Delete for good what is deleted.",
    "studio": "Open a workspace in the browser.",
    "open": "Open a page of a Studio that runs.",
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
            if close := _close_command(args[0]):
                raise click.UsageError(f"{error.message} Did you mean `amlstore {close}`?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amlstore")
def cli() -> None:
    """Workspaces for MLflow: a folder, or a service over one."""


def main() -> None:
    """Run the command line; an error is one message on stderr and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where its encoding lacks a character, as stderr does
    try:
        with _failure_in_place_of_uri():
            exit_code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        exit_code = error.exit_code
    except click.Abort:
        click.echo("Aborted!", err=True)
        exit_code = 1
    except AmlStoreError as error:
        click.echo(f"amlstore: {error}", err=True)
        exit_code = error.exit_code
    except OSError as error:  # the caller's own files: where an export can't be written, say
        click.echo(f"amlstore: {error}", err=True)
        exit_code = 1
    sys.exit(exit_code)


@contextmanager
def _failure_in_place_of_uri() -> Iterator[None]:
    """However `amlstore uri` fails, misspelt too: print what MLflow refuses, and says why, in place of a tracking URI.

    In `export MLFLOW_TRACKING_URI=$(amlstore uri)` the exit code is lost. An empty text would unset the variable, and
    the script would log somewhere else. A person at a terminal isn't shown it.
    """
    try:
        yield
    except Exception as error:
        if _means_uri(sys.argv[1:]) and not sys.stdout.isatty():
            problem = error.format_message() if isinstance(error, click.ClickException) else str(error)
            click.echo(of_failure(problem or type(error).__name__))
        raise


def _means_uri(arguments: Sequence[str]) -> bool:
    """Whether the command is `uri`, or something that is close to it; options of `uri` may stand before it."""
    named = (argument if argument in _COMMANDS else _close_command(argument) for argument in arguments)
    return next(filter(None, named), None) == "uri"


def _close_command(word: str) -> str | None:
    return next(iter(get_close_matches(word, _COMMANDS)), None)
