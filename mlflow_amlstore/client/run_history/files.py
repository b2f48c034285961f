"""Files of a workspace behind a service, by container: implements `records.common_store.CommonFiles`."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.files.azureml_uri import ArtifactRoot, ContainerRoot, RunRoot
from mlflow_amlstore.client.files.remote_files import RemoteFiles, files_of
from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.protocol.artifact_origins import UPLOAD_ORIGIN
from mlflow_amlstore.records.locations import check_new_path, check_path, logged_model_of, split_location, upload_of
from mlflow_amlstore.records.types import FileRecord

_Progress = Callable[[int], None] | None
_CHUNK_BYTES = 8 * 1024 * 1024


class RemoteContainers:
    """Files of one workspace's runs and uploads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, container: str, path: str, source: BinaryIO, *, content_type: str | None = None) -> FileRecord:
        path = check_new_path(path)
        with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
            local = Path(folder, "content")
            with local.open("wb") as sink:
                while chunk := source.read(_CHUNK_BYTES):
                    sink.write(chunk)
            return self.write_local(container, [(path, local)])[0]

    def write_local(
        self, container: str, items: Iterable[tuple[str, Path]], *, progress: _Progress = None
    ) -> list[FileRecord]:
        checked = [(check_new_path(path), local) for path, local in items]
        self._of(container).upload(checked, progress)
        return [FileRecord(path, local.stat().st_size, "", "", 0) for path, local in checked]

    def open(self, container: str, path: str) -> BinaryIO:
        with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
            local = Path(folder, "content")
            self._of(container).download(check_path(path), local)
            content = tempfile.TemporaryFile()  # noqa: SIM115  # the caller's to close
            with local.open("rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    content.write(chunk)
            content.seek(0)
            return content

    def download(self, container: str, path: str, target: Path, *, progress: _Progress = None) -> None:
        self._of(container).download(check_path(path), target)

    def find(self, container: str, path: str) -> FileRecord | None:
        path = check_path(path)
        return next((file for file in self.list_all(container, path) if file.path == path), None)

    def list_all(
        self, container: str, folder: str = "", *, after: str = "", max_results: int | None = None
    ) -> list[FileRecord]:
        folder = check_path(folder) if folder.strip("/") else ""
        listed = [
            FileRecord(path, size_bytes, "", "", 0)
            for path, size_bytes in self._of(container).list_files(folder)
            if path > after
        ]
        return sorted(listed, key=lambda file: file.path)[:max_results]

    def _of(self, container: str) -> RemoteFiles:
        return files_of(self._connection, _artifact_root_of(container))


def _artifact_root_of(container: str) -> ArtifactRoot:
    split_location(container)  # raises PathUnsafe for what is no container
    upload = upload_of(container)
    if upload is not None:
        return ContainerRoot(UPLOAD_ORIGIN, upload)
    experiment_id, owner_id, *_ = container.split("/")
    if experiment_id == "snapshots":
        raise NotFound("snapshot", owner_id)
    return RunRoot(experiment_id, logged_model_of(container) or owner_id)
