"""The options that say which workspace a command is about: `--workspace`, and `--url` where any kind will do."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_amlstore.errors import ConfigInvalid
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.runner import deaths
from mlflow_amlstore.workspace.config_json import WorkspaceConfig, config_of, find_config
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, open_folder

if TYPE_CHECKING:
    from mlflow_amlstore.core import Workspace


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


def with_workspace(command: Callable[..., None]) -> Callable[..., None]:
    """Add both options; the command gets the workspace, of whichever kind, as `workspace`."""

    @url_option
    @workspace_option
    @functools.wraps(command)
    def with_opened(workspace: Path | None, url: str | None, **given: Any) -> None:
        command(workspace=open_workspace(workspace, url), **given)

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


def _config_of_chosen(chosen: Path | None, url: str | None) -> WorkspaceConfig | None:
    """The config.json that is meant; None where it is a service's address instead."""
    check_one_place(chosen, url)
    if url is not None:
        return None
    return find_config() if chosen is None else config_of(chosen)


def open_records(chosen: Path | None, url: str | None) -> CommonStore:
    """Open the records of the workspace that `--workspace`, `--url` or config.json names, of whichever kind."""
    config = _config_of_chosen(chosen, url)
    if config is not None and config.folder is not None:  # which needs nothing of `core`
        records = open_folder(config.folder, config.file).records
        deaths.look(records)
        return records
    return _open_workspace(config, url).records


def open_workspace(chosen: Path | None, url: str | None) -> "Workspace":
    """Open the workspace that `--workspace`, `--url` or config.json names, of whichever kind."""
    return _open_workspace(_config_of_chosen(chosen, url), url)


def _open_workspace(config: WorkspaceConfig | None, url: str | None) -> "Workspace":
    from mlflow_amlstore.core import Workspace

    if config is None:
        assert url is not None
        return Workspace.from_url(url)
    if config.folder is not None:  # also where its config.json is gone
        return Workspace.from_tracking_uri(open_folder(config.folder, config.file).root_uri)
    return Workspace.from_config(config.file)
