"""`amlstore submit DIR SCRIPT`."""

import os
import shutil
import sys
from pathlib import Path

import click

from mlflow_amlstore.cli.interrupt import ends_on_interrupt
from mlflow_amlstore.cli.logs import print_logs
from mlflow_amlstore.cli.run_fields import outcome
from mlflow_amlstore.cli.workspace_option import with_workspace
from mlflow_amlstore.core import Environment, Experiment, ScriptRunConfig, Workspace
from mlflow_amlstore.core.run_configuration import PyTorchConfiguration
from mlflow_amlstore.core.script_run_config import checked_source
from mlflow_amlstore.core.submission import submit_script
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import RunStatus

_CONDA_FILES, _REQUIREMENTS_FILES = (".yml", ".yaml"), (".txt", ".in", ".toml")


class _Submit(click.Command):
    """Says where the script's own options stand, to those who gave them to `amlstore`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            message = f"{error.format_message()} The script's own options stand after `--`."
            raise click.UsageError(message, ctx) from None


@click.command("submit", cls=_Submit)
@with_workspace
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("script", metavar="SCRIPT")
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1)
@click.option("-e", "--experiment", metavar="NAME", help="Default: DIR's name.")
@click.option("--name", help="The run's name. Default: a random one.")
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="A tag of the run; may be given again.")
@click.option(
    "--env",
    metavar="PATH",
    help="A conda environment file (.yml), a requirements file (.txt), a pyproject.toml, or a Python to run with. "
    "Default: the one that runs this.",
)
@click.option("--compute", metavar="NAME", help="The compute target whose slots it takes. Default: local.")
@click.option("--processes", type=click.IntRange(1), help="Start so many, each told its rank as for PyTorch.")
@click.option(
    "-f", "--follow", "--wait", is_flag=True, help="Print its logs till it ends; exit with 1 unless it Completed."
)
def command(
    workspace: Workspace,
    folder: Path,
    script: str,
    arguments: tuple[str, ...],
    experiment: str | None,
    name: str | None,
    tags: tuple[str, ...],
    env: str | None,
    compute: str | None,
    processes: int | None,
    follow: bool,
) -> None:
    """Run SCRIPT, a file in DIR, as a run in a copy of DIR, with ARGS as they are.

    The first line printed is the run's id. The run goes on when this command has ended, on Ctrl+C too.
    """
    config = ScriptRunConfig(
        folder,
        script,
        list(arguments),
        compute_target=compute,
        environment=None if env is None else _environment(env),
        distributed_job_config=None if processes is None else PyTorchConfiguration(process_count=processes),
    )
    given_tags = dict(map(_tag, tags))
    source = checked_source(config)  # a slip in it makes no experiment
    run = submit_script(Experiment(workspace, experiment or source.name), config, tags=given_tags, name=name)
    click.echo(run.id)
    if not follow:
        click.echo(f"Submitted to experiment {run.experiment.name}. `amlstore watch {run.id}` shows it", err=True)
        return
    with ends_on_interrupt(f"The run goes on. `amlstore cancel {run.id}` ends it"):
        print_logs(run, follow=True)
    record = workspace.records.runs.get(run.id)
    click.echo(outcome(record), err=True)
    sys.exit(0 if record.info.status is RunStatus.COMPLETED else 1)


def _tag(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise InvalidValue("--tag", given, "must be NAME=VALUE")
    return name, value


def _environment(given: str) -> Environment:
    """The environment that a path means, by its ending and then by what is there."""
    path = Path(given)
    if path.suffix.lower() in _CONDA_FILES:
        return Environment.from_conda_specification(path.name, path)
    if path.suffix.lower() in _REQUIREMENTS_FILES:
        return Environment.from_pip_requirements(path.name, path)
    interpreter = shutil.which(given)  # a path, or a name on PATH
    if interpreter is None:
        kinds = "a conda environment file (.yml), a requirements file (.txt), a pyproject.toml, or a Python to run with"
        raise InvalidValue("--env", given, f"must be {kinds}")
    environment = Environment(path.name)
    environment.python.user_managed_dependencies = True
    # Not resolved: a virtual environment's Python is a link, and is known by where it lies.
    environment.python.interpreter_path = os.path.abspath(interpreter)
    return environment
