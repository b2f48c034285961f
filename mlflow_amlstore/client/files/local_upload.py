"""Uploading a folder of this machine, that no run has, to be registered as a model: Azure ML's origin LocalUpload."""

import secrets
from datetime import datetime, timezone
from pathlib import Path

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.files.azureml_uri import ContainerRoot
from mlflow_amlstore.client.files.remote_files import files_of
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.artifact_origins import UPLOAD_ORIGIN

_MODEL_FILE = "MLmodel"


def upload_model(connection: Connection, folder: Path) -> str:
    """Upload a model's folder and return the artifact URI that it has now.

    Raises InvalidValue for a folder that has no MLmodel, and what `RemoteFiles.upload` does.
    """
    folder = folder.resolve()
    if not (folder / _MODEL_FILE).is_file():
        raise InvalidValue("model source", str(folder), f"must be a folder with a file {_MODEL_FILE}")
    stamp = f"{datetime.now(timezone.utc):%y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    name = folder.name or "model"
    items = [
        (f"{name}/{file.relative_to(folder).as_posix()}", file) for file in sorted(folder.rglob("*")) if file.is_file()
    ]
    files_of(connection, ContainerRoot(UPLOAD_ORIGIN, stamp)).upload(items)
    return f"azureml://artifacts/{UPLOAD_ORIGIN}/{stamp}/{name}"
