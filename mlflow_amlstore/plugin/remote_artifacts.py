"""MLflow's artifact repository over the files of a workspace service. Thin: paths in, calls to `RemoteFiles` out."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlflow

from mlflow_amlstore.client.connection import Connection, connection_led_to, connection_of
from mlflow_amlstore.client.files.azureml_uri import parse_artifact_uri
from mlflow_amlstore.client.files.remote_files import files_of
from mlflow_amlstore.errors import InvalidValue, TrackingUriInvalid
from mlflow_amlstore.plugin.artifact_repository import FilesRepository, PathText
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.plugin.progress import transfer_progress
from mlflow_amlstore.records.locations import check_path
from mlflow_amlstore.records.types import FileListing
from mlflow_amlstore.workspace.service_url import same_machine_form
from mlflow_amlstore.workspace.tracking_uri import EMBEDDED, TrackingUri, parse

_FILES = "artifacts"


@raises_mlflow_errors
class RemoteArtifactRepository(FilesRepository):
    """The files under one artifact URI of a service."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None, **_newer: Any
    ) -> None:
        """Takes no network. The token is that of the connection to this service, or of the tracking URI."""
        # It may end above the files: MLflow splits `…/runs/RUN/artifacts` before its last part.
        self._is_above = _is_above_files(artifact_uri)
        found = parse_artifact_uri(f"{artifact_uri.rstrip('/')}/{_FILES}" if self._is_above else artifact_uri)
        connection = _connection_to(found.root, (tracking_uri, registry_uri, mlflow.get_tracking_uri()))
        self._files = files_of(connection, found.artifact_root)
        self._folder = found.path
        super().__init__(artifact_uri)

    def _resolve(self, path: PathText | None) -> str:
        """The path among the run's files that a path of this repository means."""
        relative = check_path(os.fspath(path)) if path else ""
        if self._is_above:
            first, _, relative = relative.partition("/")
            if first != _FILES:
                raise InvalidValue(
                    "artifact path", os.fspath(path or ""), f"must begin with {_FILES} below a run's URI"
                )
        return "/".join(part for part in (self._folder, relative) if part)

    def _upload(
        self, folder: PathText | None, items: Sequence[tuple[str, Path]], advance: Callable[[int], None] | None
    ) -> None:
        resolved = self._resolve(folder)
        prefix = f"{resolved}/" if resolved else ""
        self._files.upload([(check_path(prefix + path), local) for path, local in items], advance)

    def _list(self, folder: PathText | None) -> tuple[str, Sequence[FileListing]]:
        resolved = self._resolve(folder)
        return resolved, self._files.list_folder(resolved)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        path = self._resolve(remote_file_path)
        self._files.download(path, Path(local_path), partial(transfer_progress, f"Downloading {Path(path).name}"))

    def delete_artifacts(self, artifact_path: PathText | None = None) -> None:
        self._files.delete(self._resolve(artifact_path))


def _is_above_files(uri: str) -> bool:
    """Whether a URI ends at a run, above its files, among which a folder may be called `runs`, too."""
    if uri.rstrip("/").split("/")[-2:-1] != ["runs"]:
        return False
    try:
        parse_artifact_uri(uri)
    except TrackingUriInvalid:
        return True
    return False


def _connection_to(root: str, known_uris: tuple[str | None, ...]) -> Connection:
    """The connection of the artifact URI's workspace, with the token of a tracking URI that names it too.

    Another workspace's URI may come from a record: it is followed, but not with AMLSTORE_KEY. Where the artifact URI
    names no workspace ("") it is the first of the tracking URIs that names one.
    """
    wanted = parse(root) if root else None
    for uri in known_uris:
        try:
            known = parse(uri or "")
            if known.scheme != EMBEDDED and (wanted is None or _is_one_workspace(known, wanted)):
                return connection_of(known)
        except (TrackingUriInvalid, InvalidValue):
            continue  # another kind of store's
    if wanted is None:
        rule = "names no workspace; call mlflow.set_tracking_uri with the workspace's that it is in"
        raise TrackingUriInvalid("azureml://…", rule)
    return connection_led_to(wanted)


def _is_one_workspace(known: TrackingUri, wanted: TrackingUri) -> bool:
    return known.root == wanted.root or (
        known.workspace_path == wanted.workspace_path
        and same_machine_form(known.service_url) == same_machine_form(wanted.service_url)
    )
