"""The files of one run, logged model or container of a workspace: registered and listed there, sent to and from content
URLs.

The routes and shapes are those of Azure ML. Where a path can be written once, what is written again goes under the name
of a later version (`later_versions`), and is read from there.
"""

import logging
import posixpath
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.connection_cache import ConnectionCache
from mlflow_amlstore.client.files.azureml_uri import ArtifactRoot, RunRoot
from mlflow_amlstore.client.files.content_url import Content, ContentUrl, call, split_url
from mlflow_amlstore.client.files.download import download_file
from mlflow_amlstore.client.files.growing import GrowingUpload
from mlflow_amlstore.client.files.later_versions import (
    KnownVersions,
    Version,
    looks_like_version,
    path_of,
    version_of,
)
from mlflow_amlstore.client.files.upload import Upload, upload_files
from mlflow_amlstore.client.run_calls import get_run, set_tag, tags_of
from mlflow_amlstore.errors import (
    AlreadyExists,
    NotFound,
    NotSupported,
    ServiceError,
    ServiceUnreachable,
)
from mlflow_amlstore.records.folders import check_no_clash, children_of
from mlflow_amlstore.records.local_place import local_errors
from mlflow_amlstore.records.locations import check_path, container_of
from mlflow_amlstore.records.types import FileListing
from mlflow_amlstore.workspace.service_url import is_loopback

WRITTEN_AGAIN_TAG = "amlstore_written_again"
_WRITTEN_AGAIN = "yes: NAME.amlstore-2.END is a later version of NAME.END"
JOURNAL_FOLDER = ".amlstore/journal"
"""Where this package keeps what a run has no endpoint or no room for (`client.journal`)."""
_MAX_PATHS_AT_ONCE = 100
_CONFLICT = "already exists"

_logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
ShowProgress = Callable[[int], AbstractContextManager[Progress | None]]


class RemoteFiles:
    """The files under one artifact root. Safe across threads. Get it from `files_of`."""

    def __init__(self, connection: Connection, root: ArtifactRoot) -> None:
        """Takes no network."""
        self._connection = connection
        self._root = root
        self._route = f"/{root.service}{connection.workspace_path}/{root.route}"
        self._known = KnownVersions()
        self._has_later_versions = False  # as far as is known
        self._has_warned = False

    def upload(self, items: Sequence[tuple[str, Path]], progress: Progress | None = None) -> None:
        """Upload local files to paths, over what is there; `progress` is told the bytes as they are sent.

        Raises what `upload_files` does, PathUnsafe, TokenRefused, LoginNeeded.
        """
        began_s = time.monotonic()
        upload_files(self._registered(items), progress)
        _logger.debug("Uploaded %d files in %.2f s", len(items), time.monotonic() - began_s)
        self._known.are_written(path for path, _ in items)

    def _registered(self, items: Sequence[tuple[str, Path]]) -> Iterator[Upload]:
        for start in range(0, len(items), _MAX_PATHS_AT_ONCE):
            some = items[start : start + _MAX_PATHS_AT_ONCE]
            contents = self._contents_to_write([path for path, _ in some])
            for path, local in some:
                with local_errors(local):
                    size_bytes = local.stat().st_size
                yield Upload(local, self._content(path, contents[path], self._content_to_write), size_bytes)

    def _content(self, path: str, content: Content, ask: Callable[[str], Content]) -> ContentUrl:
        is_own = split_url(content.url)[0] == self._connection.service_url
        return ContentUrl(path, content, partial(ask, path), is_services_own=is_own)

    def _content_to_write(self, path: str) -> Content:
        return self._contents_to_write([path])[path]

    def _contents_to_write(self, paths: list[str]) -> dict[str, Content]:
        """A URL to write to for each path, or where it is taken, for a later version of it."""
        if any(map(looks_like_version, paths)):
            self._connection.known_limits()  # a path that is written again needs no name of ours
        wanted = self._known.to_write(paths) if self._writes_once() else {path: path for path in paths}
        found, taken = self._new_contents(wanted)
        if taken:
            self._find_latest_beside(taken)
            self._tell_of_later_versions(taken[0])
        while taken:
            for path in taken:
                self._known.is_taken(path, wanted[path])
            wanted = self._known.to_write(taken)
            contents, taken = self._new_contents(wanted)
            found.update(contents)
        return found

    def _find_latest_beside(self, taken: list[str]) -> None:
        """List the folders of paths that are taken. Raises InvalidValue where that was by a write that was refused, as
        the path is a folder: a later version would be refused by nobody."""
        for folder in {posixpath.dirname(path) for path in taken}:
            there = self._find_latest(folder)
            for path in taken:
                if posixpath.dirname(path) == folder:
                    check_no_clash(path, there)

    def _new_contents(self, wanted: dict[str, str]) -> tuple[dict[str, Content], list[str]]:
        """URLs to write to, by the names that paths are wanted under; and of which names the paths are taken."""
        given = {"paths": [{"path": path} for path in wanted.values()]}
        answer = self._connection.request("POST", f"{self._route}/batch/metadata", json=given)
        errors = answer.get("errors") or {}
        for path, error in errors.items():
            if _CONFLICT not in error["error"]["message"]:
                raise ServiceError("INVALID_PARAMETER_VALUE", f"{path}: {error['error']['message']}", 400)
        contents = answer.get("artifactContentInformation") or {}
        found = {
            name: self._checked(contents[path])
            for name, path in wanted.items()
            if path not in errors and path in contents
        }
        return found, [name for name in wanted if name not in found]

    def _tell_of_later_versions(self, path: str) -> None:
        """Before a first later version is written, say so to readers by a tag, and to the user."""
        if not isinstance(self._root, RunRoot):
            raise AlreadyExists("file", path)
        if not self._has_later_versions:
            with suppress(ServiceError):  # a run that takes no more tags is read as if it had this one
                set_tag(self._connection, self._root.owner_id, WRITTEN_AGAIN_TAG, _WRITTEN_AGAIN)
            self._has_later_versions = True
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "%r was written before, and this workspace writes a file of a run once: it is kept as a later version. "
                "This package reads the latest under the file's own name; others find it as %r",
                path,
                path_of(Version(path, 2)),
            )

    def download(self, path: str, target: Path, show: ShowProgress | None = None) -> None:
        """Download a file to `target`, over what is there; it appears whole or not at all.

        `show` is given the size in bytes, and what it yields is told the bytes as they come. Raises what
        `download_file` does, TokenRefused, LoginNeeded.
        """
        content = self._content_to_read(path)
        with nullcontext() if show is None else show(content.size_bytes or 0) as progress:
            began_s = time.monotonic()
            download_file(self._content(path, content, self._content_to_read), target, progress)
            _logger.debug("Downloaded %s in %.2f s", path, time.monotonic() - began_s)

    def read_part(self, path: str, begin: int, most_bytes: int) -> bytes:
        """Return bytes of a file from `begin` on, as many as there are. Raises NotFound."""
        content = self._content(path, self._content_to_read(path), self._content_to_read)
        answer = call(content, "GET", headers={"Range": f"bytes={begin}-{begin + most_bytes - 1}"}, accepted=(206, 416))
        return answer.body if answer.status == 206 else b""

    def growing(self, path: str) -> GrowingUpload:
        """What sends a file of a run while it is written. Raises NotSupported where the workspace takes none."""
        if self._connection.known_limits() is not None:
            raise NotSupported("A file of Azure ML that grows")
        return GrowingUpload(self._content(path, self._content_to_write(path), self._content_to_write))

    def _content_to_read(self, path: str) -> Content:
        """A URL to read the latest version of a file from. Raises NotFound."""
        latest = path
        if self._writes_once():
            if not self._known.was_listed(path) and self._may_have_later_versions():
                self._find_latest(posixpath.dirname(path))
            latest = self._known.latest(path)
        content = self._readable(latest)
        if content is None and latest != path:
            content = self._readable(path)
        if content is None:
            raise NotFound("file", path)
        return content

    def _writes_once(self) -> bool:
        """Whether this workspace writes a file of a run once, as far as it has said."""
        return self._connection.limits is not None

    def _readable(self, path: str) -> Content | None:
        try:
            return self._checked(self._connection.request("GET", f"{self._route}/contentinfo", params={"path": path}))
        except ServiceError as error:
            if error.http_status == 404:
                return None
            raise

    def _find_latest(self, folder: str) -> list[str]:
        """List a folder, so that its files' latest versions are known; return the files' paths."""
        return [path for path, _ in self._list_all(folder)]

    def _checked(self, info: dict[str, Any]) -> Content:
        """A content URL that a service may name: anything may be behind https, but plain http only this machine."""
        content = Content(str(info["contentUri"]), info.get("contentLength"), info.get("etag"))
        parts = urlsplit(content.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ServiceUnreachable(self._connection.service_url, "its content URLs are neither https nor loopback")
        return content

    def list_folder(self, path: str = "") -> list[FileListing]:
        """The files and folders right under a folder, by name; nothing for a file, or where nothing is.

        What this package keeps of a run itself is shown to who asks for its folder.
        """
        own = f"{JOURNAL_FOLDER}/"
        asks_for_own = path.startswith(JOURNAL_FOLDER)
        return children_of(path, (file for file in self._list_all(path) if asks_for_own or not file[0].startswith(own)))

    def list_files(self, path: str = "") -> Iterator[tuple[str, int]]:
        """Path and size of every file at or under a path; what this package keeps of a run itself isn't shown."""
        for name, size_bytes in self._list_all(path):
            is_own = name.startswith(f"{JOURNAL_FOLDER}/")
            if not is_own and (path in ("", name) or name.startswith(f"{path}/")):
                yield name, size_bytes

    def _list_all(self, path: str) -> Iterator[tuple[str, int]]:
        """Path and size of every file under a folder, of its latest version. The service may list more than was asked
        for."""
        listed = dict(self._listed(path))
        versions = self._versions(listed)
        sizes: dict[str, tuple[int, int]] = {}
        for name, size_bytes in listed.items():
            version = versions.get(name, Version(name, 1))
            if version.number >= sizes.get(version.path, (0, 0))[0]:
                sizes[version.path] = version.number, size_bytes
        self._known.are_listed(path, (Version(found, number) for found, (number, _) in sizes.items()))
        for found, (_, size_bytes) in sizes.items():
            yield found, size_bytes

    def _versions(self, names: Collection[str]) -> dict[str, Version]:
        """Which of these files are versions of others. A file that another client wrote may have such a name: it is no
        version where there is no first one, unless the run says that it has some (a first one's content may never have
        come)."""
        if not self._writes_once():
            return {}
        versions = {name: version for name in names if (version := version_of(name)).path != name}
        orphans = {
            name
            for name, (path, number) in versions.items()
            if number > 1 and path not in names and path_of(Version(path, 1)) not in names
        }
        if orphans and not self._may_have_later_versions():
            return {name: version for name, version in versions.items() if name not in orphans}
        return versions

    def _may_have_later_versions(self) -> bool:
        """Whether the run's tags say that it has some, or are so many that they couldn't."""
        if self._has_later_versions:
            return True
        run_id = self._root.run_id
        if run_id is None:
            return False
        try:
            tags = tags_of(get_run(self._connection, run_id))
        except ServiceError as error:
            if error.http_status == 404:
                return True  # a logged model's files have no run's tags
            raise
        limits = self._connection.limits
        is_full = limits is not None and len(tags) >= limits.tags_per_run
        self._has_later_versions = WRITTEN_AGAIN_TAG in tags
        return self._has_later_versions or is_full

    def _listed(self, path: str) -> Iterator[tuple[str, int]]:
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
        """Delete a file, a folder, or everything. Nothing happens where nothing is. Raises NotSupported on Azure ML."""
        if not isinstance(self._root, RunRoot):
            raise NotSupported("Deleting uploaded files")
        container = container_of(self._root.experiment, self._root.owner_id)
        location = f"{container}/{path}" if path else container
        route = f"{self._connection.mlflow_path}/api/2.0/mlflow-artifacts/artifacts/{quote(location)}"
        try:
            self._connection.request("DELETE", route)
        except ServiceError as error:
            if error.error_code == "ENDPOINT_NOT_FOUND":
                raise NotSupported("Deleting files of a run of Azure ML") from None
            raise


_files = ConnectionCache(RemoteFiles)


def files_of(connection: Connection, root: ArtifactRoot) -> RemoteFiles:
    """The files under an artifact root: one object per process, which remembers what was written again."""
    return _files.of(connection, root)
