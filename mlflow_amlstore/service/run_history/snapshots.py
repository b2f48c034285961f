"""Snapshots, as Azure ML's SDK keeps them: it sends what changed since the one before, and asks for a zip file."""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound
from mlflow_amlstore.records.locations import check_new_path, snapshot_container, upload_container
from mlflow_amlstore.service.files.containers import file_of_url
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.signed_urls import Direction

ROUTES = Routes(Area.CONTENT)

_EMPTY_ID = "00000000-0000-0000-0000-000000000000"


class DirTreeNode(msgspec.Struct, frozen=True):
    """A file or folder of a snapshot, with the SHA-512 of a file's content."""

    name: str = ""
    hash: str | None = None
    type: str = "Directory"
    timestamp: str | None = None
    children: dict[str, "DirTreeNode"] = {}


class LatestSnapshot(msgspec.Struct, frozen=True):
    """What the next snapshot is compared with."""

    root: DirTreeNode
    id: str


class FileNames(msgspec.Struct, frozen=True, rename="pascal"):
    """Files that are going to be sent."""

    file_names: list[str]


class FileNode(msgspec.Struct, frozen=True, rename="camel"):
    """A file, and the URL to write it to."""

    full_name: str
    blob_uri: str


class FileNodes(msgspec.Struct, frozen=True, rename="camel"):
    """Where files go."""

    file_nodes: list[FileNode]


class SentFile(msgspec.Struct, frozen=True, rename="pascal"):
    """A file that was sent, and the URL that it was sent to."""

    full_name: str
    blob_uri: str
    file_size: int | None = None


class FileRevisions(msgspec.Struct, frozen=True, rename="pascal"):
    """The files that were sent."""

    file_nodes: list[SentFile] = []


class NewSnapshot(msgspec.Struct, frozen=True, rename="pascal"):
    """A snapshot: its whole tree, the files of it that were sent, and the snapshot that has the others."""

    dir_tree_node: DirTreeNode
    file_revision_list: FileRevisions = FileRevisions()
    parent_snapshot_id: str | None = None
    tags: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None


class SnapshotZip(msgspec.Struct, frozen=True, rename="camel"):
    """Where a snapshot can be downloaded as a zip file."""

    zip_sas_uri: str


@ROUTES.get("/snapshots/latest/metadata", Role.READER, Right.TRACK)
def latest(call: Call) -> LatestSnapshot:
    """Tell what the next snapshot is compared with: nothing, so that all of it is sent."""
    return LatestSnapshot(DirTreeNode(timestamp="2000-01-01T00:00:00Z"), _EMPTY_ID)


@ROUTES.post("/snapshots/getblob", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
def give_urls(call: Call, body: FileNames) -> FileNodes:
    """Give a URL to write each file to."""
    container = upload_container(f"snapshot-{uuid.uuid4().hex}")
    return FileNodes(
        [
            FileNode(name, call.content_url(f"{container}/{check_new_path(_path(name))}", Direction.WRITE))
            for name in body.file_names
        ]
    )


@ROUTES.post("/snapshots/{snapshot}", Role.CONTRIBUTOR, Right.TRACK, is_long=True)
def create(call: Call, body: NewSnapshot) -> None:
    """Make a snapshot of files that were sent, and of others that an earlier one has."""
    snapshot_id = call.path["snapshot"]
    container = snapshot_container(snapshot_id)
    if call.records.files.list_all(container, max_results=1):
        raise AlreadyExists("snapshot", snapshot_id, "Snapshots stay as they are; make another one")
    sent = {
        check_new_path(_path(file.full_name)): _location(file.blob_uri) for file in body.file_revision_list.file_nodes
    }
    parent = body.parent_snapshot_id
    items = []
    for path in _files_of(body.dir_tree_node):
        if path in sent:
            items.append((path, *sent[path]))
        elif parent is None or parent == _EMPTY_ID:
            raise InvalidValue("file", path, "was not sent, and no earlier snapshot is named that may have it")
        else:
            items.append((path, snapshot_container(parent), path))
    call.records.files.name_again(container, items)


@ROUTES.post("/snapshots/{snapshot}/zip", Role.CONTRIBUTOR, Right.TRACK)
async def give_zip(call: Call, request: Request) -> Response:
    """Make a zip file of a snapshot, and give the URL to read it.

    The zip file is kept, so this needs the right to write. It is made on the threads for files, and not on those that
    answer other requests.
    """
    given = SnapshotZip(await on_thread(_make_zip, call, call.path["snapshot"]))
    return Response(msgspec.json.encode(given), media_type="application/json")


def _make_zip(call: Call, snapshot_id: str) -> str:
    """The URL of a new zip file, in a place that no client could write to before."""
    name = f"{snapshot_id}.zip"
    container = upload_container(f"zip-{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
        call.records.snapshots.write_zip(snapshot_id, Path(folder, name))
        call.records.files.write_local(container, [(name, Path(folder, name))])
    return call.content_url(f"{container}/{name}", Direction.READ)


def _files_of(node: DirTreeNode, prefix: str = "") -> Iterator[str]:
    for name, child in node.children.items():
        path = f"{prefix}{name}"
        if child.type == "File":
            yield check_new_path(path)
        else:
            yield from _files_of(child, f"{path}/")


def _path(full_name: str) -> str:
    return full_name.replace("\\", "/").removeprefix("./").lstrip("/")


def _location(blob_uri: str) -> tuple[str, str]:
    """The container and path of a URL that `give_urls` gave."""
    container, file = file_of_url(blob_uri)
    if not container.startswith("uploads/snapshot-"):
        raise NotFound("file", f"{container}/{file}", "It is not one that was sent for a snapshot")
    return container, file
