"""Snapshots of a workspace behind a service: implements `records.common_store.CommonSnapshots`."""

import hashlib
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlflow_amlstore.client.files.content_url import Content, ContentUrl, split_url
from mlflow_amlstore.client.files.download import download_file
from mlflow_amlstore.client.files.upload import Upload, upload_files
from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.errors import NotFound, ServiceUnreachable
from mlflow_amlstore.records.locations import check_new_path

_ZIP_S, _POLL_S = 60.0, 5.0  # for how long, and how often, Azure ML is asked for a zip that it is making
_NO_PARENT = "00000000-0000-0000-0000-000000000000"


class RemoteSnapshots:
    """Snapshots of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def store(self, items: Sequence[tuple[str, Path]]) -> str:
        snapshot_id = str(uuid.uuid4())
        local = {check_new_path(path): file for path, file in items}
        urls = self._urls(list(local))
        sizes = {path: file.stat().st_size for path, file in local.items()}
        upload_files([Upload(file, self._content(path, urls[path]), sizes[path]) for path, file in local.items()])
        nodes = [{"FullName": path, "BlobUri": urls[path], "FileSize": sizes[path]} for path in local]
        body = {
            "ParentSnapshotId": _NO_PARENT,
            "Tags": None,
            "Properties": None,
            "DirTreeNode": _tree(local),
            "FileRevisionList": {"FileNodes": nodes},
        }
        self._history.call_content("POST", f"snapshots/{snapshot_id}", body)
        return snapshot_id

    def write_zip(self, snapshot_id: str, target: Path) -> None:
        with named("snapshot", snapshot_id):
            download_file(self._zip(snapshot_id), target)

    def _urls(self, paths: list[str]) -> dict[str, str]:
        if not paths:
            return {}
        answer = self._history.call_content("POST", "snapshots/getblob", {"FileNames": paths})
        return {str(node["fullName"]): str(node["blobUri"]) for node in answer.get("fileNodes") or ()}

    def _content(self, path: str, url: str) -> ContentUrl:
        def another() -> Content:
            raise NotFound("content URL", path, "It has expired; take the snapshot again")

        return ContentUrl(path, Content(url), another, is_services_own=self._is_own(url))

    def _zip(self, snapshot_id: str) -> ContentUrl:
        def ask() -> Content:
            connection = self._history.connection
            answer = self._history.call_content("POST", f"snapshots/{segment(snapshot_id)}/zip", {})
            until = time.monotonic() + _ZIP_S
            while "zipSasUri" not in answer and "location" in answer and time.monotonic() < until:
                place = str(answer["location"])
                if not self._is_own(place):
                    raise ServiceUnreachable(connection.service_url, "it points to another host for a snapshot's zip")
                time.sleep(_POLL_S)
                answer = {"location": place, **connection.request("GET", place[len(connection.service_url) :])}
            if "zipSasUri" not in answer:
                raise ServiceUnreachable(connection.service_url, "it answered without a snapshot's zip")
            return Content(str(answer["zipSasUri"]))

        content = ask()
        return ContentUrl(f"{snapshot_id}.zip", content, ask, is_services_own=self._is_own(content.url))

    def _is_own(self, url: str) -> bool:
        return split_url(url)[0] == self._history.connection.service_url


def _tree(files: dict[str, Path]) -> dict[str, Any]:
    """The folders and files, each file with the SHA-512 of its content."""
    now = datetime.now(timezone.utc).isoformat()
    root: dict[str, Any] = {"name": "", "hash": None, "type": "Directory", "timestamp": now, "children": {}}
    for path, file in files.items():
        node = root
        *folders, name = path.split("/")
        for folder in folders:
            empty: dict[str, Any] = {
                "name": folder,
                "hash": None,
                "type": "Directory",
                "timestamp": now,
                "children": {},
            }
            node = node["children"].setdefault(folder, empty)
        with file.open("rb") as source:
            digest = _sha512(source)
        node["children"][name] = {"name": name, "hash": digest, "type": "File", "timestamp": now, "children": {}}
    return root


def _sha512(source: Any) -> str:
    digest = hashlib.sha512()
    while chunk := source.read(1024 * 1024):
        digest.update(chunk)
    return digest.hexdigest()
