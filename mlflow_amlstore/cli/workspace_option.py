"""The option `--workspace`, which every command that reads records has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlflow_amlstore.errors import ConfigInvalid
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


def open_chosen(chosen: Path | None) -> EmbeddedWorkspace:
    """Open the workspace that `--workspace`, or config.json, names."""
    config = find_config() if chosen is None else config_of(chosen)
    if config.folder is None:
        raise ConfigInvalid(str(config.file), "it names no embedded workspace, and this command reads only those yet")
    return open_folder(config.folder)
