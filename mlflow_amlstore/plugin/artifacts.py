"""MLflow's artifact repository over a workspace's files. Thin: one location in, calls to its record store out.

The location is a run's or a logged model's files, a folder in them, or the workspace itself: then paths start with the
container, as MLflow's artifact proxy has them (`mlflow server --artifacts-destination amlstore:///…`).
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import LocalFileFailed, StorageFailed
from mlflow_amlstore.plugin.artifact_repository import FilesRepository, PathText
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.plugin.progress import transfer_progress
from mlflow_amlstore.records.locations import check_path, check_uri_location, split_location
from mlflow_amlstore.records.types import FileListing
from mlflow_amlstore.workspace.artifact_uri import split_artifact_uri
from mlflow_amlstore.workspace.opening import open_folder

_logger = logging.getLogger(__name__)


@raises_mlflow_errors
class WorkspaceArtifactRepository(FilesRepository):
    """The files under one artifact URI of an embedded workspace."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None, **_newer: Any
    ) -> None:
        """Open the workspace that `artifact_uri` leads through; what it is relative to needs no tracking URI."""
        folder, location = split_artifact_uri(artifact_uri)
        self._location = check_uri_location(location)
        self._files = open_folder(folder).records.files
        super().__init__(artifact_uri)
        self.tracking_uri, self.registry_uri = tracking_uri, registry_uri

    def _resolve(self, path: PathText | None) -> tuple[str, str]:
        """The container and the path in it that a path of this repository means."""
        relative = check_path(os.fspath(path)) if path else ""
        return split_location("/".join(part for part in (self._location, relative) if part))

    def _upload(
        self, folder: PathText | None, items: Sequence[tuple[str, Path]], advance: Callable[[int], None] | None
    ) -> None:
        container, resolved = self._resolve(folder)
        prefix = f"{resolved}/" if resolved else ""
        self._files.write_local(container, [(prefix + path, local) for path, local in items], progress=advance)

    def _list(self, folder: PathText | None) -> tuple[str, Sequence[FileListing]]:
        container, resolved = self._resolve(folder)
        return resolved, self._files.list_folder(container, resolved)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        container, path = self._resolve(remote_file_path)
        record = self._files.find(container, path)
        size = record.size_bytes if record else 0
        with transfer_progress(f"Downloading {Path(path).name}", size) as advance:
            try:
                self._files.download(container, path, Path(local_path), progress=advance)
            except (LocalFileFailed, StorageFailed) as error:
                _logger.warning("%s", error)  # MLflow says "not found", whatever it was (`RunsArtifactRepository`)
                raise

    def delete_artifacts(self, artifact_path: PathText | None = None) -> None:
        container, path = self._resolve(artifact_path)
        self._files.delete(container, path)
