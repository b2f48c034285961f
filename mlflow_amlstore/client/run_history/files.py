"""Files of a workspace behind a service, by container: implements `records.common_store.CommonFiles`."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.files.azureml_uri import ArtifactRoot, ContainerRoot, RunRoot
from mlflow_amlstore.client.files.growing import RemoteGrowingFile
from mlflow_amlstore.client.files.remote_files import RemoteFiles, files_of
from mlflow_amlstore.errors import InvalidValue, NotFound
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

    def read_part(self, container: str, path: str, begin: int, most_bytes: int) -> bytes:
        return self._of(container).read_part(check_path(path), begin, most_bytes)

    def grow(self, container: str, path: str, *, name: str | None = None) -> RemoteGrowingFile:
        if name is None:
            raise InvalidValue("name", name, "must be the path of the local file that is written to")
        upload = self._of(container).growing(check_new_path(path))
        upload.begin()
        return RemoteGrowingFile(upload, Path(name))

    def end_growing(self, container: str, path: str, *, local: Path | None = None, also: Sequence[str] = ()) -> None:
        if local is None:
            raise InvalidValue("local", local, "must be the file that was written to")
        upload = self._of(container).growing(check_new_path(path))
        record = self.find(container, path)
        if record is None:
            upload.begin()
        else:
            upload.at = record.size_bytes
        RemoteGrowingFile(upload, local).end(also=also)

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
