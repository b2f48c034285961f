"""MLflow's artifact repository over a workspace's files. Thin: one location in, calls to `records.store.Files` out.

The location is a run's or a logged model's files, a folder in them, or the workspace itself: then paths start with the
container, as MLflow's artifact proxy has them (`mlflow server --artifacts-destination amlstore:///…`).
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mlflow_amlstore.errors import InvalidValue, StorageFailed
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.progress import transfer_progress
from mlflow_amlstore.records.locations import check_path, split_location
from mlflow_amlstore.workspace.artifact_uri import split_artifact_uri
from mlflow_amlstore.workspace.opening import open_folder

_logger = logging.getLogger(__name__)


class WorkspaceArtifactRepository(ArtifactRepository):
    """The files under one artifact URI of an embedded workspace."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None, **_newer: Any
    ) -> None:
        """Open the workspace that `artifact_uri` leads through; what it is relative to needs no tracking URI."""
        with as_mlflow_errors():
            folder, self._location = split_artifact_uri(artifact_uri)
            if self._location:
                check_path(self._location)  # it may end above the files: MLflow splits URIs where it likes
            self._files = open_folder(folder).records.files
        super().__init__(artifact_uri)
        self.tracking_uri, self.registry_uri = tracking_uri, registry_uri

    def _resolve(self, path: str | os.PathLike[str] | None) -> tuple[str, str]:
        """The container and the path in it that a path of this repository means."""
        relative = check_path(os.fspath(path)) if path else ""
        return split_location("/".join(part for part in (self._location, relative) if part))

    def _relative(self, path: str | os.PathLike[str] | None, resolved: str, found: str) -> str:
        """A path found in the container, as this repository's callers see it."""
        asked = os.fspath(path).rstrip("/") if path else ""
        below = found[len(resolved) :].lstrip("/")
        return f"{asked}/{below}" if asked else below

    def log_artifact(
        self, local_file: str | os.PathLike[str], artifact_path: str | os.PathLike[str] | None = None
    ) -> None:
        local = Path(local_file)
        with as_mlflow_errors():
            container, folder = self._resolve(artifact_path)
            target = f"{folder}/{local.name}" if folder else local.name
            with transfer_progress(f"Uploading {local.name}", local.stat().st_size) as advance:
                self._files.write_local(container, [(target, local)], progress=advance)

    def log_artifacts(
        self, local_dir: str | os.PathLike[str], artifact_path: str | os.PathLike[str] | None = None
    ) -> None:
        local = Path(local_dir)
        with as_mlflow_errors():
            if not local.is_dir():
                raise InvalidValue("local_dir", str(local), "must be a folder that exists")
            container, folder = self._resolve(artifact_path)
            prefix = f"{folder}/" if folder else ""
            found = sorted(_files_under(local))
            items = [(prefix + file.relative_to(local).as_posix(), file) for file in found]
            total = sum(file.stat().st_size for file in found)
            with transfer_progress(f"Uploading {len(items)} files", total) as advance:
                self._files.write_local(container, items, progress=advance)

    def list_artifacts(self, path: str | os.PathLike[str] | None = None) -> list[FileInfo]:
        with as_mlflow_errors():
            container, resolved = self._resolve(path)
            return [
                FileInfo(
                    self._relative(path, resolved, child.path),
                    child.is_folder,
                    None if child.is_folder else child.size_bytes,
                )
                for child in self._files.list_folder(container, resolved)
            ]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        with as_mlflow_errors():
            container, path = self._resolve(remote_file_path)
            record = self._files.find(container, path)
            size = record.size_bytes if record else 0
            with transfer_progress(f"Downloading {Path(path).name}", size) as advance:
                try:
                    self._files.download(container, path, Path(local_path), progress=advance)
                except StorageFailed as error:
                    _logger.warning("%s", error)  # MLflow says "not found", whatever it was (`RunsArtifactRepository`)
                    raise

    def delete_artifacts(self, artifact_path: str | os.PathLike[str] | None = None) -> None:
        with as_mlflow_errors():
            container, path = self._resolve(artifact_path)
            self._files.delete(container, path)


def _files_under(folder: Path) -> Iterator[Path]:
    """Every file under a folder; links to files are followed, links to folders are not (they may lead in a circle)."""
    for parent, _, names in os.walk(folder):
        for name in names:
            found = Path(parent, name)
            if found.is_file():
                yield found
            else:
                _logger.warning("Not uploaded, as it is no file or a link to none: %s", found)
