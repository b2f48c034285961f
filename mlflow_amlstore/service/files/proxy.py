"""MLflow's routes to files: its artifact proxy for `mlflow-artifacts:/CONTAINER/PATH`, listings, and content URLs.

A part of a multipart upload is a block, and goes to the file's content URL.
"""

import base64
import posixpath
import re
import uuid
from functools import partial
from pathlib import PureWindowsPath
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import BadRequest, InvalidValue, PayloadTooLarge
from mlflow_amlstore.records.locations import check_new_path, check_path, split_location
from mlflow_amlstore.records.types import FileListing, FileRecord
from mlflow_amlstore.service.body import decode_json, read_body
from mlflow_amlstore.service.files.blobs import EQUAL_PART
from mlflow_amlstore.service.files.containers import check_writable, container_of_owner, file_location, get_file
from mlflow_amlstore.service.files.content import content_answer
from mlflow_amlstore.service.files.transfer import on_thread, receive
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.signed_urls import Direction

ROUTES = Routes(Area.MLFLOW)

MAX_UPLOAD_BYTES = 1024**4
MAX_PARTS = 10_000
_PROXY = "/api/2.0/mlflow-artifacts"
_MAX_PARTS_BYTES = 2 * 1024 * 1024  # of a list of a file's parts
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST_EXPIRATION_S = 7 * 24 * 3600  # as MLflow has it
_PUT_BLOB_HEADERS = {"x-ms-blob-type": "BlockBlob"}

S = TypeVar("S", bound=msgspec.Struct)


class FileInfo(msgspec.Struct, frozen=True):
    """A file or folder; `file_size` is of a file."""

    path: str
    is_dir: bool
    file_size: int | UnsetType = UNSET


class FileInfos(msgspec.Struct, frozen=True):
    """What a folder has, by the names in it."""

    files: list[FileInfo]


class ListedArtifacts(msgspec.Struct, frozen=True):
    """What a folder of a run or logged model has, by paths from `root_uri`."""

    root_uri: str
    files: list[FileInfo]


class ProxyListQuery(msgspec.Struct, frozen=True):
    """A folder: `CONTAINER[/PATH]`."""

    path: str = ""


class RunListQuery(msgspec.Struct, frozen=True):
    """A folder of a run."""

    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


class ModelListQuery(msgspec.Struct, frozen=True):
    """A folder of a logged model."""

    artifact_directory_path: str = ""


class PresignedUpload(msgspec.Struct, frozen=True):
    """A file of a run or logged model that is to be written."""

    path: str
    run_id: str = ""
    model_id: str = ""
    expiration: int | None = None


class PresignedDownload(msgspec.Struct, frozen=True):
    """A file of a run that is to be read."""

    run_id: str
    path: str
    expiration: int | None = None


class PresignedUrl(msgspec.Struct, frozen=True):
    """A content URL, and what headers to send with it."""

    presigned_url: str
    headers: dict[str, str]
    file_size: int | UnsetType = UNSET


class ProxyPresignedUrl(msgspec.Struct, frozen=True):
    """A content URL to read from."""

    url: str
    headers: dict[str, str]
    file_size: int


class CreateMultipart(msgspec.Struct, frozen=True):
    """An upload in parts; `path` is the local file's, of which the name counts."""

    path: str
    num_parts: int = 1


class PartCredential(msgspec.Struct, frozen=True):
    """Where a part goes."""

    url: str
    part_number: int
    headers: dict[str, str]


class CreatedMultipart(msgspec.Struct, frozen=True):
    """An upload in parts that was begun."""

    upload_id: str
    credentials: list[PartCredential]


class Part(msgspec.Struct, frozen=True):
    """A part that was sent."""

    part_number: int


class CompleteMultipart(msgspec.Struct, frozen=True):
    """The parts that a file is made of."""

    path: str
    upload_id: str
    parts: list[Part]


class AbortMultipart(msgspec.Struct, frozen=True):
    """An upload in parts that is given up."""

    path: str
    upload_id: str = ""


@ROUTES.get(f"{_PROXY}/artifacts", Role.READER, Right.TRACK, is_long=True)
def list_proxied(call: Call, body: ProxyListQuery) -> FileInfos:
    """List a folder."""
    if not body.path.strip("/"):
        raise InvalidValue("path", body.path, "must name a run's or logged model's files: EXPERIMENT/RUN/artifacts")
    container, folder = split_location(body.path)
    children = call.records.files.list_folder(container, folder)
    return FileInfos([_info(posixpath.basename(child.path), child) for child in children])


@ROUTES.get(f"{_PROXY}/artifacts/{{location:path}}", Role.READER, Right.TRACK)
async def download(call: Call, request: Request) -> Response:
    """Read a file."""
    container, path = file_location(call.path["location"])
    return await content_answer(call.records.files, request, container, path, _as_attachment)


@ROUTES.put(f"{_PROXY}/artifacts/{{location:path}}", Role.CONTRIBUTOR, Right.TRACK)
async def upload(call: Call, request: Request) -> Response:
    """Write a file."""
    container, path = file_location(call.path["location"])
    path = check_new_path(path)
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdecimal():
        raise BadRequest(f"Content-Length can't be {length!r:.50}")
    if len(length) > len(str(MAX_UPLOAD_BYTES)) or int(length) > MAX_UPLOAD_BYTES:
        raise PayloadTooLarge(MAX_UPLOAD_BYTES)
    await on_thread(check_writable, call.records, container)
    begin = partial(call.records.files.begin, container, path)
    await receive(request, path, begin, lambda incoming: incoming.keep(), limit_bytes=MAX_UPLOAD_BYTES)
    return _empty()


@ROUTES.delete(f"{_PROXY}/artifacts/{{location:path}}", Role.CONTRIBUTOR, Right.TRACK)
async def delete(call: Call, request: Request) -> Response:
    """Delete a file, or a folder with all that is in it."""
    container, path = split_location(call.path["location"])
    await on_thread(check_writable, call.records, container)
    await on_thread(call.records.files.delete, container, path)
    return _empty()


@ROUTES.get(f"{_PROXY}/presigned/{{location:path}}", Role.READER, Right.TRACK)
def presign_proxied(call: Call) -> ProxyPresignedUrl:
    """Give a URL to read a file from."""
    container, path = file_location(call.path["location"])
    record = get_file(call.records.files, container, path)
    url = call.content_url(f"{container}/{path}", Direction.READ)
    return ProxyPresignedUrl(url, {}, record.size_bytes)


@ROUTES.post(f"{_PROXY}/mpu/create/{{location:path}}", Role.CONTRIBUTOR, Right.TRACK)
def create_multipart(call: Call, body: CreateMultipart) -> CreatedMultipart:
    """Begin an upload in parts."""
    if not 1 <= body.num_parts <= MAX_PARTS:
        raise InvalidValue("num_parts", body.num_parts, f"must be from 1 to {MAX_PARTS}")
    container, path = _uploaded(call, body.path)
    check_writable(call.records, container)
    upload_id = uuid.uuid4().hex
    url = call.content_url(f"{container}/{path}", Direction.WRITE)
    credentials = []
    for number in range(1, body.num_parts + 1):
        part = f"{url}&comp=block&blockid={quote(_block_id(upload_id, number), safe='')}"
        if number < body.num_parts:  # the last may be shorter
            part += f"&{EQUAL_PART}={number}"
        credentials.append(PartCredential(part, number, {}))
    return CreatedMultipart(upload_id, credentials)


@ROUTES.post(f"{_PROXY}/mpu/complete/{{location:path}}", Role.CONTRIBUTOR, Right.TRACK)
async def complete_multipart(call: Call, request: Request) -> Response:
    """Make a file of its parts."""
    body = await _decoded(CompleteMultipart, request)
    container, path = _uploaded(call, body.path)
    if not _UPLOAD_ID.fullmatch(body.upload_id):
        raise InvalidValue("upload_id", body.upload_id, "is none that this service gave")
    numbers = sorted(part.part_number for part in body.parts)
    block_ids = [_block_id(body.upload_id, number) for number in numbers]
    await on_thread(check_writable, call.records, container)
    await on_thread(call.records.files.commit_blocks, container, path, block_ids)
    return _empty()


@ROUTES.post(f"{_PROXY}/mpu/abort/{{location:path}}", Role.CONTRIBUTOR, Right.TRACK)
async def abort_multipart(call: Call, request: Request) -> Response:
    """Give an upload in parts up."""
    body = await _decoded(AbortMultipart, request)
    container, path = _uploaded(call, body.path)
    await on_thread(call.records.files.discard_blocks, container, path)
    return _empty()


@ROUTES.get("/api/2.0/mlflow/artifacts/list", Role.READER, Right.TRACK, is_long=True)
def list_of_run(call: Call, body: RunListQuery) -> ListedArtifacts:
    """List a folder of a run."""
    return _listed(call, container_of_owner(call.records, body.run_id or body.run_uuid), body.path)


@ROUTES.get("/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories", Role.READER, Right.TRACK, is_long=True)
def list_of_model(call: Call, body: ModelListQuery) -> ListedArtifacts:
    """List a folder of a logged model."""
    return _listed(call, container_of_owner(call.records, call.path["model_id"]), body.artifact_directory_path)


@ROUTES.post("/api/2.0/mlflow/artifacts/presigned-upload-url", Role.CONTRIBUTOR, Right.TRACK)
def presign_upload(call: Call, body: PresignedUpload) -> PresignedUrl:
    """Give a URL to write a file to, with Put Blob."""
    if bool(body.run_id) == bool(body.model_id):
        raise InvalidValue("run_id", body.run_id, "exactly one of run_id and model_id must be given")
    container = container_of_owner(call.records, body.run_id or body.model_id)
    location = f"{container}/{check_new_path(body.path)}"
    url = call.content_url(location, Direction.WRITE, lifetime_s=_lifetime_s(body.expiration))
    return PresignedUrl(url, _PUT_BLOB_HEADERS)


@ROUTES.post("/api/2.0/mlflow/artifacts/presigned-download-url", Role.READER, Right.TRACK)
def presign_download(call: Call, body: PresignedDownload) -> PresignedUrl:
    """Give a URL to read a file from."""
    container, path = container_of_owner(call.records, body.run_id), check_path(body.path)
    record = get_file(call.records.files, container, path)
    lifetime_s = _lifetime_s(body.expiration)
    url = call.content_url(f"{container}/{path}", Direction.READ, lifetime_s=lifetime_s)
    return PresignedUrl(url, {}, record.size_bytes)


def _listed(call: Call, container: str, folder: str) -> ListedArtifacts:
    children = call.records.files.list_folder(container, check_path(folder) if folder else "")
    return ListedArtifacts(call.uris.artifact_uri(container), [_info(child.path, child) for child in children])


def _info(path: str, child: FileListing) -> FileInfo:
    return FileInfo(path, child.is_folder, UNSET if child.is_folder else child.size_bytes)


def _uploaded(call: Call, local_path: str) -> tuple[str, str]:
    """The container and path of a file that is uploaded in parts: the address has its folder, the client its name."""
    is_windows = re.match(r"[A-Za-z]:[\\/]|\\\\", local_path) is not None
    name = PureWindowsPath(local_path).name if is_windows else posixpath.basename(local_path)
    container, path = file_location(f"{call.path['location'].rstrip('/')}/{name}")
    return container, check_new_path(path)


def _block_id(upload_id: str, part_number: int) -> str:
    return base64.b64encode(f"{upload_id}-{part_number:06d}".encode()).decode()


def _lifetime_s(expiration: int | None) -> float | None:
    if expiration is not None and not 1 <= expiration <= _LONGEST_EXPIRATION_S:
        raise InvalidValue("expiration", expiration, f"must be from 1 to {_LONGEST_EXPIRATION_S} seconds")
    return expiration


def _as_attachment(record: FileRecord) -> dict[str, str]:
    name = quote(posixpath.basename(record.path), safe="")
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}


async def _decoded(kind: type[S], request: Request) -> S:
    document = await read_body(request.receive, request.headers.get("content-length"), _MAX_PARTS_BYTES)
    decoded = decode_json(kind, document, request.headers.get("content-type"))
    if not isinstance(decoded, kind):
        raise TypeError(f"{kind.__name__} was decoded as {type(decoded).__name__}")
    return decoded


def _empty() -> Response:
    return Response(b"{}", media_type="application/json")
