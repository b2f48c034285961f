"""MLflow's artifact repository over the files of a workspace service. Thin: paths in, calls to `RemoteFiles` out."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mlflow_amlstore.errors import InvalidValue, TrackingUriInvalid
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.local_files import files_under
from mlflow_amlstore.plugin.progress import transfer_progress
from mlflow_amlstore.records.locations import check_path
from mlflow_amlstore.workspace.connection import Connection, connection_of
from mlflow_amlstore.workspace.remote_files import RemoteFiles, parse_artifact_uri
from mlflow_amlstore.workspace.service_url import same_machine_form
from mlflow_amlstore.workspace.tracking_uri import parse


class RemoteArtifactRepository(ArtifactRepository):
    """The files under one artifact URI of a service."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None, **_newer: Any
    ) -> None:
        """Takes no network. The token is that of the connection to this service, or of the tracking URI."""
        with as_mlflow_errors():
            found = parse_artifact_uri(artifact_uri)
            connection = _connection_to(found.root, (tracking_uri, registry_uri, mlflow.get_tracking_uri()))
            self._files = RemoteFiles(connection, found.experiment_id, found.owner_id)
        self._folder = found.path
        super().__init__(artifact_uri)

    def _resolve(self, path: str | os.PathLike[str] | None) -> str:
        """The path among the run's files that a path of this repository means."""
        relative = check_path(os.fspath(path)) if path else ""
        return "/".join(part for part in (self._folder, relative) if part)

    def _relative(self, path: str | os.PathLike[str] | None, resolved: str, found: str) -> str:
        """A path found there, as this repository's callers see it."""
        asked = os.fspath(path).rstrip("/") if path else ""
        below = found[len(resolved) :].lstrip("/")
        return f"{asked}/{below}" if asked else below

    def log_artifact(
        self, local_file: str | os.PathLike[str], artifact_path: str | os.PathLike[str] | None = None
    ) -> None:
        local = Path(local_file)
        with as_mlflow_errors():
            folder = self._resolve(artifact_path)
            target = check_path(f"{folder}/{local.name}" if folder else local.name)
            with transfer_progress(f"Uploading {local.name}", local.stat().st_size) as advance:
                self._files.upload([(target, local)], advance)

    def log_artifacts(
        self, local_dir: str | os.PathLike[str], artifact_path: str | os.PathLike[str] | None = None
    ) -> None:
        local = Path(local_dir)
        with as_mlflow_errors():
            if not local.is_dir():
                raise InvalidValue("local_dir", str(local), "must be a folder that exists")
            folder = self._resolve(artifact_path)
            prefix = f"{folder}/" if folder else ""
            found = sorted(files_under(local))
            items = [(check_path(prefix + file.relative_to(local).as_posix()), file) for file in found]
            total = sum(file.stat().st_size for file in found)
            with transfer_progress(f"Uploading {len(items)} files", total) as advance:
                self._files.upload(items, advance)

    def list_artifacts(self, path: str | os.PathLike[str] | None = None) -> list[FileInfo]:
        with as_mlflow_errors():
            resolved = self._resolve(path)
            return [
                FileInfo(self._relative(path, resolved, child.path), child.is_folder, child.size_bytes)
                for child in self._files.list_folder(resolved)
            ]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        with as_mlflow_errors():
            path = self._resolve(remote_file_path)
            self._files.download(path, Path(local_path), partial(transfer_progress, f"Downloading {Path(path).name}"))

    def delete_artifacts(self, artifact_path: str | os.PathLike[str] | None = None) -> None:
        with as_mlflow_errors():
            self._files.delete(self._resolve(artifact_path))


def _connection_to(root: str, known_uris: tuple[str | None, ...]) -> Connection:
    """The connection of the artifact URI's workspace, with the token of a tracking URI that names it too."""
    wanted = parse(root)
    for uri in known_uris:
        try:
            known = parse(uri or "")
            if known.root == wanted.root or (
                known.workspace_path == wanted.workspace_path
                and same_machine_form(known.service_url) == same_machine_form(wanted.service_url)
            ):
                return connection_of(known)
        except (TrackingUriInvalid, InvalidValue):
            continue  # another kind of store's
    return connection_of(wanted)
