"""Where a run's records are, for its runner: in a folder of this machine, or behind a service.

It imports what opens them only then, which is slow: the script has started by that time.
"""

import os
from pathlib import Path
from typing import BinaryIO

from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.contents import ContentFolder
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.runner.launch import Launch, RunFolder

TOKEN_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "AZUREML_RUN_TOKEN")
"""The variables in which a run's processes find its token."""


def go_by_run_token(launch: Launch) -> None:
    """Have this process track with the run's own token, which is renewed from now on."""
    if not launch.is_embedded:
        os.environ.update(launch.variables)
        os.environ[TOKEN_VARIABLES[0]] = launch.token


def open_records(launch: Launch) -> CommonStore:
    """The run records of the run's workspace."""
    if launch.is_embedded:
        from mlflow_amlstore.workspace.opening import open_folder

        return open_folder(Path(launch.workspace)).records
    from mlflow_amlstore.client.connection import connection_of
    from mlflow_amlstore.client.run_history.remote_records import records_of

    return records_of(connection_of(launch.workspace))


def new_log_name(launch: Launch, folder: RunFolder, path: str) -> str:
    """The name that `CommonFiles.grow` knows a new log by: growing content of the workspace, or a local file."""
    return ContentFolder(Path(launch.workspace)).new_growing_name() if launch.is_embedded else str(folder.logs / path)


def open_log(launch: Launch, name: str) -> BinaryIO:
    """Open a log, for processes to write to."""
    if launch.is_embedded:
        return ContentFolder(Path(launch.workspace)).grow(name)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return Path(name).open("ab", buffering=0)


def begin_log(records: CommonStore, launch: Launch, folder: RunFolder, path: str) -> CommonGrowingFile:
    """Begin a log of the run that this process writes."""
    name = new_log_name(launch, folder, path)
    open_log(launch, name).close()
    return records.files.grow(run_container(launch.experiment_id, launch.run_id), path, name=name)
