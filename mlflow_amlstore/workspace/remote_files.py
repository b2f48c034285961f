"""The files of one run or logged model of a service: registered and listed there, sent to and from content URLs.

The routes and shapes are those of Azure ML's run artifacts.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from mlflow_amlstore.errors import NotFound, ServiceError, ServiceUnreachable, StorageFailed, TrackingUriInvalid
from mlflow_amlstore.records.folders import children_of
from mlflow_amlstore.records.locations import check_path, container_of
from mlflow_amlstore.records.types import FileListing
from mlflow_amlstore.workspace.connection import Connection
from mlflow_amlstore.workspace.content_url import Content, ContentUrl, split_url
from mlflow_amlstore.workspace.file_download import download_file
from mlflow_amlstore.workspace.file_upload import Upload, upload_files
from mlflow_amlstore.workspace.service_url import is_loopback

_MAX_PATHS_AT_ONCE = 100
_ARTIFACT_URI = re.compile(
    r"(?P<root>azureml(?:\+http)?://[^/?#]+(?:/[^/?#]+)*?)"
    r"/experiments/(?P<experiment>[^/?#]+)/runs/(?P<owner>[^/?#]+)/artifacts(?:/(?P<path>.*))?",
    re.DOTALL,
)

Progress = Callable[[int], None]
ShowProgress = Callable[[int], AbstractContextManager[Progress | None]]


class ArtifactUri(NamedTuple):
    """An artifact URI taken apart: the workspace's root, whose files, and the path in them ("" for all)."""

    root: str
    experiment_id: str
    owner_id: str
    path: str


def parse_artifact_uri(uri: str) -> ArtifactUri:
    """Take apart `ROOT/experiments/EXPERIMENT/runs/RUN_OR_MODEL/artifacts[/PATH]`; the path isn't percent-encoded.

    Raises TrackingUriInvalid, PathUnsafe.
    """
    match = _ARTIFACT_URI.fullmatch(uri)
    if match is None:
        raise TrackingUriInvalid(
            uri.partition("?")[0], "must be azureml://HOST/…/experiments/…/runs/…/artifacts[/PATH]"
        )
    path = (match["path"] or "").strip("/")
    return ArtifactUri(match["root"], match["experiment"], match["owner"], check_path(path) if path else "")


class RemoteFiles:
    """The files of one run or logged model. Safe across threads."""

    def __init__(self, connection: Connection, experiment_id: str, owner_id: str) -> None:
        """Takes no network."""
        self._connection = connection
        self._container = container_of(experiment_id, owner_id)
        owner = f"experiments/{quote(experiment_id, safe='')}/runs/{quote(owner_id, safe='')}"
        self._route = f"/history/v1.0{connection.workspace_path}/{owner}/artifacts"

    def upload(self, items: Sequence[tuple[str, Path]], progress: Progress | None = None) -> None:
        """Upload local files to paths, over what is there; `progress` is told the bytes as they are sent.

        Raises what `upload_files` does, PathUnsafe, TokenRefused, LoginNeeded.
        """
        upload_files(self._registered(items), progress)

    def _registered(self, items: Sequence[tuple[str, Path]]) -> Iterator[Upload]:
        for start in range(0, len(items), _MAX_PATHS_AT_ONCE):
            some = items[start : start + _MAX_PATHS_AT_ONCE]
            contents = self._contents_to_write([path for path, _ in some])
            for path, local in some:
                try:
                    size_bytes = local.stat().st_size
                except OSError as error:
                    raise StorageFailed(str(local), error.strerror or type(error).__name__) from error
                yield Upload(local, self._content(path, contents[path], self._content_to_write), size_bytes)

    def _content(self, path: str, content: Content, ask: Callable[[str], Content]) -> ContentUrl:
        is_own = split_url(content.url)[0] == self._connection.service_url
        return ContentUrl(path, content, partial(ask, path), is_services_own=is_own)

    def _content_to_write(self, path: str) -> Content:
        return self._contents_to_write([path])[path]

    def _contents_to_write(self, paths: list[str]) -> dict[str, Content]:
        given = {"paths": [{"path": path} for path in paths]}
        answer = self._connection.request("POST", f"{self._route}/batch/metadata", json=given)
        for path, error in (answer.get("errors") or {}).items():
            raise ServiceError("INVALID_PARAMETER_VALUE", f"{path}: {error['error']['message']}", 400)
        return {path: self._checked(info) for path, info in answer["artifactContentInformation"].items()}

    def download(self, path: str, target: Path, show: ShowProgress | None = None) -> None:
        """Download a file to `target`, over what is there; it appears whole or not at all.

        `show` is given the size in bytes, and what it yields is told the bytes as they come. Raises what
        `download_file` does, TokenRefused, LoginNeeded.
        """
        content = self._content_to_read(path)
        with nullcontext() if show is None else show(content.size_bytes or 0) as progress:
            download_file(self._content(path, content, self._content_to_read), target, progress)

    def _content_to_read(self, path: str) -> Content:
        try:
            return self._checked(self._connection.request("GET", f"{self._route}/contentinfo", params={"path": path}))
        except ServiceError as error:
            if error.http_status == 404:
                raise NotFound("file", path) from error
            raise

    def _checked(self, info: dict[str, Any]) -> Content:
        """A content URL that a service may name: anything may be behind https, but plain http only this machine."""
        content = Content(str(info["contentUri"]), info.get("contentLength"), info.get("etag"))
        parts = urlsplit(content.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ServiceUnreachable(self._connection.service_url, "its content URLs are neither https nor loopback")
        return content

    def list_folder(self, path: str = "") -> list[FileListing]:
        """The files and folders right under a folder, by name; nothing for a file, or where nothing is."""
        return children_of(path, self._list_all(path))

    def _list_all(self, path: str) -> Iterator[tuple[str, int]]:
        """Path and size of every file under a folder. The service may list more than was asked for."""
        answer = self._connection.request("GET", self._route, params={"path": path} if path else None)
        while True:
            for item in answer.get("value") or ():
                yield check_path(item["path"]), int(item.get("contentLength") or 0)
            token = answer.get("continuationToken")
            if not token:
                return
            answer = self._connection.request(
                "GET", self._route, params={"continuationToken": token, "path": path or None}
            )

    def delete(self, path: str = "") -> None:
        """Delete a file, a folder, or everything. Nothing happens where nothing is."""
        location = f"{self._container}/{path}" if path else self._container
        route = f"{self._connection.mlflow_path}/api/2.0/mlflow-artifacts/artifacts/{quote(location)}"
        self._connection.request("DELETE", route)
