"""Downloading a file from its content URL: large ones in ranges, several at once, and checked.

The file appears whole or not at all; a connection that breaks is taken up where it broke. However large the file,
memory holds one chunk for each thread. A service's own content is checked by its SHA-256, which is its ETag; elsewhere
each range has an MD5.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.files.arriving_file import CHUNK_BYTES, ArrivingFile, OrderedSha256
from mlflow_amlstore.client.files.content_url import (
    EXPIRED_STATUSES,
    MAX_NEW_URLS,
    Content,
    ContentUrl,
    base_headers,
    error_of,
    split_url,
)
from mlflow_amlstore.client.http.backoff import RETRIED_STATUSES, Backoff, retry_after_s
from mlflow_amlstore.client.http.transport import NoAnswer, no_answer, open_stream
from mlflow_amlstore.errors import ServiceUnreachable, TransferBroken
from mlflow_amlstore.records.local_place import arriving

if TYPE_CHECKING:
    import urllib3

RANGE_BYTES = 16 * 1024 * 1024
RANGE_BYTES_WITH_MD5 = 4 * 1024 * 1024  # the most that storage computes one for
THREADS = 2  # more of them wait for each other at the file, and take twice the processor time
_MAX_RESTARTS = 3
_TAKEN_STATUSES = (200, 206, 416)  # 200: ranges are not known there; 416: the file is empty
_SHA256_ETAG = re.compile(r'"([0-9a-f]{64})"')

T = TypeVar("T")
Progress = Callable[[int], None]


class _WrittenAnew(Exception):
    """The file isn't any more what it was when the download began."""


class _Differs(Exception):
    """What came isn't what the checksum is of."""


def download_file(content: ContentUrl, target: Path, progress: Progress | None = None) -> None:
    """Download a file to `target`, over what is there.

    Raises NotFound, TransferBroken where the content doesn't come as it is there, LocalFileFailed for a target that
    can't be written, ServiceError, ServiceUnreachable.
    """
    with arriving(target) as temporary:
        for _ in range(_MAX_RESTARTS):
            known = content.current()
            try:
                with temporary.open("w+b", buffering=0) as opened:
                    _download(content, known, ArrivingFile(opened, progress))
                return
            except _WrittenAnew:
                problem = "it was written anew while it was read, again and again"
            except _Differs:
                problem = "its content doesn't have the checksum that it should have"
                continue
            content.another(known)
        raise TransferBroken(content.name, problem)


def _download(content: ContentUrl, known: Content, place: ArrivingFile) -> None:
    sha256 = _SHA256_ETAG.fullmatch(known.etag or "") if content.is_services_own else None
    if sha256 is None or known.size_bytes is None:
        _download_by_md5(content, place)
        return
    taken = OrderedSha256(place)
    place.make_room(known.size_bytes)

    def fetch(first: int) -> None:
        part = _Range(content, first, min(first + RANGE_BYTES, known.size_bytes or 0) - 1, known)
        part.fetch(place)
        taken.add(first, part.end)

    at_once(fetch, range(0, known.size_bytes, RANGE_BYTES), threads=THREADS)
    if taken.hexdigest() != sha256[1]:
        raise _Differs


def _download_by_md5(content: ContentUrl, place: ArrivingFile) -> None:
    def fetch(part: _Range) -> Content:
        digest = hashlib.md5(usedforsecurity=False)
        version = part.fetch(place, digest.update)
        if part.md5 is not None and part.md5 != base64.b64encode(digest.digest()).decode():
            raise _Differs
        return version

    start = _Range(content, 0, RANGE_BYTES_WITH_MD5 - 1, None)
    version = fetch(start)
    size = version.size_bytes or 0
    place.make_room(size)
    offsets = range(start.end, size, RANGE_BYTES_WITH_MD5)
    ranges = [_Range(content, first, min(first + RANGE_BYTES_WITH_MD5, size) - 1, version) for first in offsets]
    at_once(fetch, ranges, threads=THREADS)


class _Range:
    """One range of a file, `last` included. Without a version it is the first one asked for, and tells it."""

    def __init__(self, content: ContentUrl, first: int, last: int, version: Content | None) -> None:
        self._content, self._first, self._last, self._version = content, first, last, version
        self.end = first
        """The offset after what has come."""
        self.md5: str | None = None
        """What the range's MD5 should be, where storage says it."""

    def fetch(self, place: ArrivingFile, also: Callable[[bytes], None] | None = None) -> Content:
        """Write the range to its place, whatever it takes; return the file's version. Raises _WrittenAnew, and as the
        module does."""
        backoff = Backoff(f"The transfer of {self._content.name}")
        url, new_urls = self._content.current(), 0
        while True:
            origin, target = split_url(url.url)
            before = self.end
            try:
                answer = open_stream("GET", origin, target, self._headers())
                if answer.status in _TAKEN_STATUSES and self._is_taken(answer, place, also):
                    assert self._version is not None
                    return self._version
                status, headers, body = answer.status, answer.headers, _rest(answer)
            except NoAnswer as error:
                if self.end > before:
                    backoff = Backoff(f"The transfer of {self._content.name}")  # it gets on, so it may take its time
                elif error.is_lasting or not backoff.pause(error.problem):
                    raise ServiceUnreachable(origin, error.problem) from None
                continue
            if status == 412:
                raise _WrittenAnew
            if status in EXPIRED_STATUSES and new_urls < MAX_NEW_URLS:
                new_urls += 1
                url = self._content.another(url)
            elif status not in RETRIED_STATUSES or not backoff.pause(f"it answered {status}", retry_after_s(headers)):
                raise error_of(self._content, status, headers, body)

    def _headers(self) -> dict[str, str]:
        headers = {**base_headers(), "x-ms-range": f"bytes={self.end}-{self._last}"}
        if self.end == self._first and not self._content.is_services_own:
            headers["x-ms-range-get-content-md5"] = "true"
        if self._version is not None and self._version.etag:
            headers["If-Match"] = self._version.etag
        return headers

    def _is_taken(
        self, answer: "urllib3.HTTPResponse", place: ArrivingFile, also: Callable[[bytes], None] | None
    ) -> bool:
        """Write what comes; return whether it made sense. Raises NoAnswer where it breaks off."""
        size = _size_told(answer)
        if size is None or (self._version is not None and size != self._version.size_bytes):
            return False
        if self._version is None:
            self._version = Content("", size, answer.headers.get("ETag"))
        if self.end == self._first and answer.status == 206:
            self.md5 = answer.headers.get("Content-MD5")
        last = size - 1 if answer.status == 200 else min(self._last, size - 1)
        while self.end <= last:
            chunk = _read(answer)
            place.write(self.end, chunk)
            if also is not None:
                also(chunk)
            self.end += len(chunk)
        answer.release_conn()
        return True


def _size_told(answer: "urllib3.HTTPResponse") -> int | None:
    """The size of the file: it stands after the slash in `Content-Range: bytes 0-9/10`."""
    if answer.status == 200:
        size = str(answer.headers.get("Content-Length", ""))
    else:
        size = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    if answer.status == 416 and not size.isdecimal():
        size = "0"  # an empty file has no first byte to give
    return int(size) if size.isdecimal() else None


def _read(answer: "urllib3.HTTPResponse") -> bytes:
    from urllib3.exceptions import HTTPError  # not at the top: see `transport`

    try:
        chunk: bytes = answer.read(CHUNK_BYTES)
    except (HTTPError, OSError) as error:
        raise no_answer(error) from None
    if not chunk:
        answer.close()
        raise NoAnswer("the connection broke off")
    return chunk


def _rest(answer: "urllib3.HTTPResponse") -> bytes:
    """The body of a refusal, or nothing where it doesn't come."""
    try:
        body = _read(answer)
    except NoAnswer:
        body = b""
    answer.close()
    return body
