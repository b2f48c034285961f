"""The options that say which workspace a command is about: `--workspace`, and `--url` where any kind will do."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlflow_amlstore.errors import ConfigInvalid
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.workspace.config_json import config_of, find_config
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, open_folder


def workspace_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--workspace DIR`; the command gets it as `workspace`."""
    return click.option(
        "-w",
        "--workspace",
        type=click.Path(path_type=Path),
        help="Its folder, or one whose config.json names it. Default: found as Workspace.from_config does.",
    )(command)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url URL`; the command gets it as `url`."""
    return click.option("--url", help="Of the service at this address, instead of the workspace of config.json.")(
        command
    )


def with_records(command: Callable[..., None]) -> Callable[..., None]:
    """Add both options; the command gets the records of the workspace, of whichever kind, as `records`."""

    @url_option
    @workspace_option
    @functools.wraps(command)
    def with_opened(workspace: Path | None, url: str | None, **given: Any) -> None:
        command(records=open_records(workspace, url), **given)

    return with_opened


def open_chosen(chosen: Path | None) -> EmbeddedWorkspace:
    """Open the workspace's folder that `--workspace`, or config.json, names. Raises ConfigInvalid where it is another
    kind of workspace."""
    config = find_config() if chosen is None else config_of(chosen)
    if config.folder is None:
        raise ConfigInvalid(str(config.file), "it names no embedded workspace, and this command is about such folders")
    return open_folder(config.folder, config.file)


def check_one_place(workspace: Path | None, url: str | None) -> None:
    """Raise UsageError where both options are given."""
    if url is not None and workspace is not None:
        raise click.UsageError("--url and --workspace are two places; give one")


def open_records(chosen: Path | None, url: str | None) -> CommonStore:
    """Open the records of the workspace that `--workspace`, `--url` or config.json names, of whichever kind."""
    check_one_place(chosen, url)
    if url is None:
        config = find_config() if chosen is None else config_of(chosen)
        if config.folder is not None:
            return open_folder(config.folder, config.file).records
    from mlflow_amlstore.core import Workspace  # the command of a folder does without

    return (Workspace.from_config(config.file) if url is None else Workspace.from_url(url)).records
