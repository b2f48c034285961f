"""Uploading files of this machine, that no run has, to be registered as a model: Azure ML's origin LocalUpload."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.files.azureml_uri import ContainerRoot
from mlflow_amlstore.client.files.remote_files import files_of
from mlflow_amlstore.protocol.artifact_origins import UPLOAD_ORIGIN


def upload_model(connection: Connection, name: str, items: Sequence[tuple[str, Path]]) -> str:
    """Upload a model's files, `NAME` or under `NAME/`, and return the artifact URI that it has now.

    Raises what `RemoteFiles.upload` does.
    """
    stamp = f"{datetime.now(timezone.utc):%y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    files_of(connection, ContainerRoot(UPLOAD_ORIGIN, stamp)).upload(items)
    return f"azureml://artifacts/{UPLOAD_ORIGIN}/{stamp}/{name}"
