"""Answers with a file's content: whole or a range of it, under the conditions that a client sets."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import BinaryIO, NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.types import FileRecord
from mlflow_amlstore.service.files.containers import get_file
from mlflow_amlstore.service.files.refusals import BlobRefused
from mlflow_amlstore.service.files.transfer import PIECE_BYTES, md5_header, on_thread, pieces_of

_MOST_WITH_MD5_BYTES = 4 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_LAST_BYTES = re.compile(r"bytes=-(\d{1,18})")
# What a run keeps may be a page with scripts; on the service's own address it mustn't run.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}


class _Opened(NamedTuple):
    record: FileRecord
    source: BinaryIO
    start: int
    stop: int
    first: bytes


def etag_of(record: FileRecord) -> str:
    """A file's ETag: the SHA-256 of its content, in quotes; of one that grows, its name and how far it has grown."""
    return f'"{record.sha256}-{record.size_bytes}"' if record.is_growing else f'"{record.sha256}"'


def validators(record: FileRecord) -> dict[str, str]:
    """The headers that tell one content of a file from another."""
    return {"ETag": etag_of(record), "Last-Modified": formatdate(record.modified_ms / 1000, usegmt=True)}


def given_md5(request: Request, header: str = "content-md5") -> bytes | None:
    """The MD5 in a request's header. Raises BlobRefused."""
    text = request.headers.get(header)
    if text is None:
        return None
    try:
        digest = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
        raise BlobRefused(400, "InvalidMd5", f"The header {header} is not an MD5 in Base64")
    return digest


def check_unchanged(request: Request, record: FileRecord | None) -> None:
    """Raise BlobRefused where the header If-Match names another content than the file has."""
    wanted = request.headers.get("if-match")
    if wanted is None:
        return
    if record is None or ("*" not in wanted and etag_of(record) not in _etags(wanted)):
        raise BlobRefused(412, "ConditionNotMet", "The file is not, or not any more, what If-Match says")


async def content_answer(
    files: SqlFiles,
    request: Request,
    container: str,
    path: str,
    more_headers: Callable[[FileRecord], Mapping[str, str]],
) -> Response:
    """The answer to GET or HEAD of a file. Raises NotFound, BlobRefused."""
    if request.method == "HEAD":
        record = await on_thread(get_file, files, container, path)
        check_unchanged(request, record)
        headers = {**_headers(record), **more_headers(record), "Content-Length": str(record.size_bytes)}
        return Response(None, 200, headers, record.content_type)
    opened = await on_thread(_open, files, request, container, path)
    if opened is None:
        return Response(None, 304)
    return _answer(opened, request, more_headers)


def _open(files: SqlFiles, request: Request, container: str, path: str) -> _Opened | None:
    record, source = files.open_record(container, path)
    try:
        check_unchanged(request, record)
        if etag_of(record) in _etags(request.headers.get("if-none-match", "")):
            source.close()
            return None
        start, stop = _wanted_range(_range_header(request), record.size_bytes)
        _check_md5_is_possible(request, stop - start)
        source.seek(start)
        return _Opened(record, source, start, stop, source.read(min(stop - start, _first_bytes(request))))
    except BaseException:
        source.close()
        raise


def _answer(opened: _Opened, request: Request, more_headers: Callable[[FileRecord], Mapping[str, str]]) -> Response:
    record, source, start, stop, first = opened
    headers = {**_headers(record), **more_headers(record), "Content-Length": str(stop - start)}
    status = 200
    if _range_header(request) is not None:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{record.size_bytes}"
        headers.pop("Content-MD5", None)  # it is of the whole file
        if _wants_md5(request):
            headers["Content-MD5"] = md5_header(hashlib.md5(first, usedforsecurity=False).digest())
    if len(first) == stop - start:
        source.close()
        return Response(first, status, headers, record.content_type)
    return StreamingResponse(pieces_of(source, first, stop - start), status, headers, record.content_type)


def _headers(record: FileRecord) -> dict[str, str]:
    headers = {**validators(record), **_HARMLESS, "Accept-Ranges": "bytes"}
    if record.md5 is not None:
        headers["Content-MD5"] = md5_header(bytes.fromhex(record.md5))
    return headers


def _range_header(request: Request) -> str | None:
    return request.headers.get("x-ms-range", request.headers.get("range"))


def _wanted_range(text: str | None, size_bytes: int) -> tuple[int, int]:
    if text is None:
        return 0, size_bytes
    last = _LAST_BYTES.fullmatch(text.strip())
    match = _RANGE.fullmatch(text.strip())
    if last is not None and int(last[1]) > 0:
        start, stop = max(0, size_bytes - int(last[1])), size_bytes
    elif match is not None and (not match[2] or int(match[2]) >= int(match[1])):
        start = int(match[1])
        stop = min(size_bytes, int(match[2]) + 1) if match[2] else size_bytes
    else:
        raise BlobRefused(400, "InvalidHeaderValue", "The range must be one of the form bytes=FIRST-LAST")
    if start >= size_bytes:
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        raise BlobRefused(416, "InvalidRange", f"The file has {size_bytes} bytes, none in this range", headers)
    return start, stop


def _wants_md5(request: Request) -> bool:
    return request.headers.get("x-ms-range-get-content-md5", "").lower() == "true"


def _check_md5_is_possible(request: Request, wanted_bytes: int) -> None:
    if _wants_md5(request) and (_range_header(request) is None or wanted_bytes > _MOST_WITH_MD5_BYTES):
        raise BlobRefused(
            400,
            "InvalidHeaderValue",
            f"x-ms-range-get-content-md5 is for a range of at most {_MOST_WITH_MD5_BYTES} bytes",
        )


def _first_bytes(request: Request) -> int:
    return _MOST_WITH_MD5_BYTES if _wants_md5(request) else PIECE_BYTES


def _etags(header: str) -> list[str]:
    return [etag.strip().removeprefix("W/") for etag in header.split(",")]
