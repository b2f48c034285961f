"""Azure's storage protocol, as far as files need it: Put Blob, Put Block, Put Block List, Get Blob, Get Block List; and
Append Block and Seal for a log that is read while it is written.

The only credential is a content URL (`signed_urls`), which opens its own file. An ETag is the content's SHA-256 in
quotes. There are two headers of ours. `x-amlstore-sha256` with Put Blob or Put Block List is the whole file's SHA-256
in hex, checked before the file appears. `x-amlstore-offset` with Put Block says where in the file the block will be, so
that blocks that come in another order cost no copying. `x-amlstore-also` with Seal has other names that the file gets,
percent-encoded and with commas between. `x-amlstore-grows` begins an append blob: Azure ML's SDK appends where it can,
and never seals, so it is told that it can't.
"""

import hashlib
import re
from functools import partial
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mlflow_amlstore.errors import DiskFull, InvalidState, InvalidValue, NotFound, PayloadTooLarge, TransferBroken
from mlflow_amlstore.records.sql.files import IncomingFile
from mlflow_amlstore.records.types import FileRecord
from mlflow_amlstore.service.files import block_list
from mlflow_amlstore.service.files.containers import file_location
from mlflow_amlstore.service.files.content import check_unchanged, content_answer, given_md5, validators
from mlflow_amlstore.service.files.refusals import BlobRefused, blob_error
from mlflow_amlstore.service.files.transfer import Md5Differs, md5_header, on_thread, receive
from mlflow_amlstore.service.routing import Access, Area, Call, Routes
from mlflow_amlstore.service.signed_urls import Direction

__all__ = ["EQUAL_PART", "MAX_BLOCK_BYTES", "MAX_PUT_BYTES", "ROUTES", "blob_error"]

ROUTES = Routes(Area.BLOB)

MAX_PUT_BYTES = 5000 * 1024**2  # Azure's limits
MAX_BLOCK_BYTES = 4000 * 1024**2
MAX_APPENDED_BYTES = 4 * 1024**2
GROWS = "x-amlstore-grows"
EQUAL_PART = "amlstore-part"  # in the query: which of parts of one size, from 1, a block is

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_CONTENT_TYPE = re.compile(r"[\w.+\-]{1,100}/[\w.+\-]{1,100}(; ?charset=[\w\-]{1,40})?", re.ASCII)
_ANY_CONTENT_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded")  # clients' own defaults


@ROUTES.put("/{location:path}", Access.SIGNED_URL)
async def put(call: Call, request: Request) -> Response:
    """Write a file, or one block of it, or make a file of blocks."""
    if "x-ms-copy-source" in request.headers:
        raise BlobRefused(501, "NotImplemented", "x-ms-copy-source: this service copies nothing; send the content")
    container, path = _opened_by_url(call, request, Direction.WRITE)
    part = request.query_params.get("comp")
    if part == "block":
        return await _put_block(call, request, container, path)
    if part == "blocklist":
        return await _put_block_list(call, request, container, path)
    if part == "appendblock":
        return await _append_block(call, request, container, path)
    if part == "seal":
        return await _seal(call, request, container, path)
    if part is not None:
        raise _unknown_part(part)
    return await _put_blob(call, request, container, path)


@ROUTES.get("/{location:path}", Access.SIGNED_URL)
async def get(call: Call, request: Request) -> Response:
    """Read a file, or list its blocks."""
    part = request.query_params.get("comp")
    container, path = _opened_by_url(call, request, Direction.READ if part is None else None)
    if part == "blocklist":
        return await _get_block_list(call, request, container, path)
    if part is not None:
        raise _unknown_part(part)
    return await content_answer(call.records.files, request, container, path, _storage_headers)


@ROUTES.add("HEAD", "/{location:path}", Access.SIGNED_URL)
async def head(call: Call, request: Request) -> Response:
    """Tell a file's size and checksums."""
    container, path = _opened_by_url(call, request, None)
    return await content_answer(call.records.files, request, container, path, _storage_headers)


async def _put_blob(call: Call, request: Request, container: str, path: str) -> Response:
    kind = request.headers.get("x-ms-blob-type")
    if kind == "AppendBlob" and GROWS in request.headers:
        return await _begin_appending(call, request, container, path)
    if kind != "BlockBlob":
        raise BlobRefused(400, "InvalidHeaderValue", f"The header x-ms-blob-type must be BlockBlob, not {kind!r:.50}")
    await _check_conditions(call, request, container, path)
    _check_length(request, MAX_PUT_BYTES)
    files, md5, sha256 = call.records.files, given_md5(request), _given_sha256(request)
    kept_md5 = given_md5(request, "x-ms-blob-content-md5") or md5

    def keep(incoming: IncomingFile) -> FileRecord:
        record = incoming.keep(md5=kept_md5.hex() if kept_md5 else None, sha256=sha256)
        files.discard_blocks(container, path)  # as they are older than the file now
        return record

    begin = partial(
        files.begin, container, path, content_type=_content_type(request, request.headers.get("content-type"))
    )
    try:
        record = await receive(request, path, begin, keep, limit_bytes=MAX_PUT_BYTES, md5=md5)
    except Md5Differs as error:
        raise _md5_refused(error) from error
    return _created(md5, record)


async def _put_block(call: Call, request: Request, container: str, path: str) -> Response:
    block_id = request.query_params.get("blockid", "")
    size_bytes = _check_length(request, MAX_BLOCK_BYTES)
    if size_bytes == 0:
        raise BlobRefused(400, "InvalidHeaderValue", "A block can't be empty; its Content-Length is 0")
    md5 = given_md5(request)
    begin = partial(
        call.records.files.begin_block, container, path, block_id, size_bytes, offset=_given_offset(request, size_bytes)
    )
    try:
        await receive(request, path, begin, lambda block: block.keep(), limit_bytes=size_bytes, md5=md5)
    except Md5Differs as error:
        raise _md5_refused(error) from error
    except DiskFull:
        # What came of the file so far would keep the disk full for everybody until it's swept.
        await on_thread(call.records.files.discard_blocks, container, path)
        raise
    except InvalidValue as error:
        if error.field == "block id":
            raise BlobRefused(400, "InvalidQueryParameterValue", str(error)) from error
        raise
    return _created(md5)


async def _put_block_list(call: Call, request: Request, container: str, path: str) -> Response:
    await _check_conditions(call, request, container, path)
    document = await _small_body(request, path, block_list.MAX_BYTES)
    md5, kept_md5 = given_md5(request), given_md5(request, "x-ms-blob-content-md5")
    if md5 is not None and hashlib.md5(document, usedforsecurity=False).digest() != md5:
        raise _md5_refused(Md5Differs(path))
    block_ids = await on_thread(block_list.read_block_list, document)
    commit = partial(
        call.records.files.commit_blocks,
        container,
        path,
        block_ids,
        content_type=_content_type(request),
        md5=kept_md5.hex() if kept_md5 else None,
        sha256=_given_sha256(request),
    )
    try:
        record = await on_thread(commit)
    except NotFound as error:
        if error.kind == "block":
            raise BlobRefused(400, "InvalidBlockList", str(error)) from error
        raise
    except InvalidValue as error:
        if error.field == "block list":
            raise BlobRefused(400, "BlockListTooLong", str(error)) from error
        raise
    return _created(md5, record)


async def _begin_appending(call: Call, request: Request, container: str, path: str) -> Response:
    if _check_length(request, MAX_PUT_BYTES):
        raise BlobRefused(400, "InvalidHeaderValue", "An append blob begins empty; its Content-Length must be 0")
    growing = await on_thread(call.records.files.grow, container, path)
    await on_thread(growing.close)
    return Response(None, 201)


async def _append_block(call: Call, request: Request, container: str, path: str) -> Response:
    """Write at the position that the client names, so that a block that is sent twice is there once."""
    position = request.headers.get("x-ms-blob-condition-appendpos", "")
    if not re.fullmatch(r"[0-9]{1,18}", position):
        rule = "The header x-ms-blob-condition-appendpos must say at which byte the block begins"
        raise BlobRefused(400, "InvalidHeaderValue", rule)
    _check_length(request, MAX_APPENDED_BYTES)
    block = await _small_body(request, path, MAX_APPENDED_BYTES)
    try:
        size_bytes = await on_thread(call.records.files.append, container, path, int(position), block)
    except InvalidState as error:
        raise BlobRefused(409, "InvalidBlobType", str(error)) from error
    except InvalidValue as error:
        raise BlobRefused(412, "AppendPositionConditionNotMet", str(error)) from error
    return Response(None, 201, {"x-ms-blob-append-offset": position, "x-amlstore-size": str(size_bytes)})


async def _seal(call: Call, request: Request, container: str, path: str) -> Response:
    """What was sealed before stays so."""
    also = [unquote(name) for name in request.headers.get("x-amlstore-also", "").split(",") if name]
    await on_thread(partial(call.records.files.end_growing, container, path, also=also))
    return Response(None, 200, {"x-ms-blob-sealed": "true"})


async def _get_block_list(call: Call, request: Request, container: str, path: str) -> Response:
    wanted = request.query_params.get("blocklisttype", "committed")
    if wanted not in ("committed", "uncommitted", "all"):
        raise BlobRefused(400, "InvalidQueryParameterValue", f"blocklisttype can't be {wanted!r:.50}")
    files = call.records.files
    blocks = await on_thread(files.list_blocks, container, path)
    record = await on_thread(files.find, container, path)
    if record is None and not blocks:
        raise NotFound("file", path, f"{container} has no such file, nor blocks of it")
    headers = {} if record is None else {**validators(record), "x-ms-blob-content-length": str(record.size_bytes)}
    document = block_list.block_list([] if wanted == "committed" else blocks)
    return Response(document, 200, headers, "application/xml")


def _opened_by_url(call: Call, request: Request, direction: Direction | None) -> tuple[str, str]:
    """The container and path that a URL is of, after its signature is checked.

    azureml-core percent-encodes a URL's path once more before it uses it. The signature tells which name is meant.
    """
    location, query = call.path["location"], request.query_params
    container, path = file_location(location)
    if (once_more := unquote(location)) != location and not call.signer.is_of(f"{container}/{path}", query):
        container, path = file_location(once_more)
    call.tokens.check_not_revoked(call.signer.verify(f"{container}/{path}", query, direction))
    return container, path


async def _check_conditions(call: Call, request: Request, container: str, path: str) -> None:
    # Azure's clients send `If-None-Match: *` with every upload, because their cloud writes a run's files once. Here it
    # is ignored: a file may be written again and again, as `last.ckpt` is.
    if "if-match" in request.headers:
        check_unchanged(request, await on_thread(call.records.files.find, container, path))


def _check_length(request: Request, limit_bytes: int) -> int:
    text = request.headers.get("content-length")
    if text is None or "transfer-encoding" in request.headers:
        raise BlobRefused(411, "MissingContentLengthHeader", "The header Content-Length is needed")
    if not text.isascii() or not text.isdecimal():
        raise BlobRefused(400, "InvalidHeaderValue", f"Content-Length can't be {text!r:.50}")
    if len(text) > len(str(limit_bytes)) or int(text) > limit_bytes:
        raise PayloadTooLarge(limit_bytes)
    return int(text)


async def _small_body(request: Request, path: str, most_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            pieces.append(chunk)
            size += len(chunk)
            if size > most_bytes:
                raise PayloadTooLarge(most_bytes)
    except ClientDisconnect as error:
        raise TransferBroken(path, "the client went away before all of it was here") from error
    return b"".join(pieces)


def _given_sha256(request: Request) -> str | None:
    text = request.headers.get("x-amlstore-sha256")
    if text is not None and not _SHA256.fullmatch(text):
        raise BlobRefused(400, "InvalidHeaderValue", "The header x-amlstore-sha256 is not a SHA-256 in hex")
    return text.lower() if text is not None else None


def _given_offset(request: Request, size_bytes: int) -> int | None:
    part = request.query_params.get(EQUAL_PART, "")
    if re.fullmatch(r"[0-9]{1,5}", part):
        return (int(part) - 1) * size_bytes if int(part) else None
    text = request.headers.get("x-amlstore-offset")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BlobRefused(400, "InvalidHeaderValue", "The header x-amlstore-offset is not a number of bytes")
    return int(text)


def _content_type(request: Request, of_body: str | None = None) -> str | None:
    """What the client says that the file is, or None where it says nothing that could be told to others."""
    for named in (request.headers.get("x-ms-blob-content-type"), of_body):
        if named and named not in _ANY_CONTENT_TYPES and _CONTENT_TYPE.fullmatch(named):
            return named
    return None


def _storage_headers(record: FileRecord) -> dict[str, str]:
    headers = {"x-ms-blob-type": "BlockBlob"}
    return (
        headers if record.md5 is None else {**headers, "x-ms-blob-content-md5": md5_header(bytes.fromhex(record.md5))}
    )


def _created(md5: bytes | None, record: FileRecord | None = None) -> Response:
    headers = {} if record is None else validators(record)
    if md5 is not None:
        headers["Content-MD5"] = md5_header(md5)
    return Response(None, 201, headers)


def _md5_refused(error: Md5Differs) -> BlobRefused:
    return BlobRefused(400, "Md5Mismatch", str(error))


def _unknown_part(part: str) -> BlobRefused:
    return BlobRefused(400, "InvalidQueryParameterValue", f"comp can't be {part!r:.50} here")
