"""Uploading files to their content URLs: small ones whole, large ones in blocks, several at once.

However large the files, memory holds one block for each thread.
"""

import base64
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.files.content_url import ContentUrl, call
from mlflow_amlstore.errors import ServiceError, TransferBroken
from mlflow_amlstore.records.local_place import local_errors

BLOCK_BYTES = 4 * 1024 * 1024
THREADS = 4

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Upload:
    """A local file, where it goes, and its size when the upload began: what is appended later isn't sent."""

    local: Path
    content: ContentUrl
    size_bytes: int


def upload_files(uploads: Iterable[Upload], progress: Progress | None = None) -> None:
    """Upload files. Raises what the first that failed met; those that were whole by then are there, no other is.

    Raises TransferBroken, LocalFileFailed for a file that can't be read, NotFound, ServiceError, ServiceUnreachable.
    """
    parts = _parts(uploads, _Buffers(), progress or (lambda _: None))
    at_once(lambda send: send(), parts, threads=THREADS)


def _parts(uploads: Iterable[Upload], buffers: "_Buffers", progress: Progress) -> Iterable[Callable[[], None]]:
    for upload in uploads:
        if upload.size_bytes <= BLOCK_BYTES:
            yield _Whole(upload, buffers, progress)
        else:
            blocks = _Blocks(upload, buffers, progress)
            for index in range(blocks.count):
                yield blocks.sender_of(index)


class _Buffers(threading.local):
    """One buffer for each thread, used again and again."""

    def __init__(self) -> None:
        self.block = memoryview(bytearray(0))

    def read(self, local: Path, offset: int, size: int) -> memoryview:
        """`size` bytes of a file. Raises LocalFileFailed, TransferBroken for a file that has got shorter."""
        if len(self.block) < size:
            self.block = memoryview(bytearray(size))
        block, filled = self.block[:size], 0
        with local_errors(local), local.open("rb", buffering=0) as opened:
            opened.seek(offset)
            while filled < size and (count := opened.readinto(block[filled:])):
                filled += count
        if filled < size:
            raise TransferBroken(str(local), "the file got shorter while it was sent")
        return block


class _Whole:
    """A file that is sent in one piece."""

    def __init__(self, upload: Upload, buffers: _Buffers, progress: Progress) -> None:
        self._upload, self._buffers, self._progress = upload, buffers, progress

    def __call__(self) -> None:
        upload = self._upload
        body = self._buffers.read(upload.local, 0, upload.size_bytes)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        if upload.content.is_services_own:
            headers["x-amlstore-sha256"] = hashlib.sha256(body).hexdigest()
        else:
            headers["Content-MD5"] = _md5_of(body)
        call(upload.content, "PUT", headers=headers, body=body)
        self._progress(upload.size_bytes)


class _Blocks:
    """A file that is sent in blocks; whoever sends the last of them commits the list.

    A block's id names the file as it is now, by size and time of change: an upload that was broken off, in another
    process maybe, goes on with the blocks that are there. If they turn out to be of another content, after all, the
    service refuses the list by its SHA-256, and everything is sent again under other ids.
    """

    def __init__(self, upload: Upload, buffers: _Buffers, progress: Progress, salt: str = "") -> None:
        self._upload, self._buffers, self._progress = upload, buffers, progress
        self.count = -(-upload.size_bytes // BLOCK_BYTES)
        version = f"{upload.local.stat().st_mtime_ns}:{upload.size_bytes}:{BLOCK_BYTES}:{salt}"
        self._version = hashlib.sha256(version.encode()).digest()[:12]
        self._salt = salt
        self._digest = _OrderedDigest() if upload.content.is_services_own else None
        self._left = self.count
        self._lock = threading.Lock()
        self._there: frozenset[str] | None = None
        self._place = _place_of(upload.content)

    def sender_of(self, index: int) -> Callable[[], None]:
        """What sends one block."""
        return lambda: self._send(index)

    def _id(self, index: int) -> str:
        return base64.b64encode(self._version + index.to_bytes(4, "big")).decode()

    def _send(self, index: int) -> None:
        offset = index * BLOCK_BYTES
        headers = {"Content-Type": "application/octet-stream"}
        try:
            body = self._buffers.read(self._upload.local, offset, min(BLOCK_BYTES, self._upload.size_bytes - offset))
            if self._digest is not None:
                headers["x-amlstore-offset"] = str(offset)
                self._digest.add(index, body)
            else:
                headers["Content-MD5"] = _md5_of(body)
        except BaseException:
            if self._digest is not None:
                self._digest.give_up()
            raise
        if self._id(index) not in self._blocks_there():
            query = f"comp=block&blockid={quote(self._id(index), safe='')}"
            call(self._upload.content, "PUT", query, headers, body)
        self._progress(len(body))
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._commit()

    def _blocks_there(self) -> frozenset[str]:
        with self._lock:
            if self._there is None:
                self._there = uncommitted_blocks(self._upload.content)
            return self._there

    def _commit(self) -> None:
        items = "".join(f"<Latest>{self._id(index)}</Latest>" for index in range(self.count))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{items}</BlockList>'.encode()
        headers = {"Content-Type": "application/xml", "Content-MD5": _md5_of(body)}
        if self._digest is not None:
            headers["x-amlstore-sha256"] = self._digest.hexdigest()
        if not self._has_moved():
            try:
                call(self._upload.content, "PUT", "comp=blocklist", headers, body)
                return
            except ServiceError as error:
                took_old_blocks = bool(self._there) or self._has_moved()
                if error.http_status != 400 or not took_old_blocks or self._salt:
                    raise
        self._send_anew()

    def _has_moved(self) -> bool:
        """Whether the URL has expired, and the one in its place is for another name: then blocks are at both."""
        return _place_of(self._upload.content) != self._place

    def _send_anew(self) -> None:
        anew = _Blocks(self._upload, self._buffers, lambda _: None, salt=uuid.uuid4().hex)
        for index in range(anew.count):
            anew._send(index)


def _place_of(content: ContentUrl) -> str:
    return urlsplit(content.current().url).path


class _OrderedDigest:
    """The SHA-256 of blocks that come on several threads, taken in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._next = 0
        self._is_given_up = False
        self._changed = threading.Condition()

    def add(self, index: int, block: memoryview) -> None:
        """Wait for the blocks before this one, which are on their way, then add it."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == index or self._is_given_up)
            if self._is_given_up:
                raise _GivenUp
            self._digest.update(block)
            self._next += 1
            self._changed.notify_all()

    def give_up(self) -> None:
        """Let nobody wait for a block that isn't coming."""
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()

    def hexdigest(self) -> str:
        """The digest of all blocks."""
        return self._digest.hexdigest()


class _GivenUp(Exception):
    """A block before this one failed, and its error is the one that counts."""


def uncommitted_blocks(content: ContentUrl) -> frozenset[str]:
    """The ids of the blocks that an upload of this file has left there without finishing."""
    # Azure storage lists blocks to who may read; a URL that is for writing gets 403, and nothing is known.
    accepted = (200, 404) if content.is_services_own else (200, 403, 404)
    answer = call(content, "GET", "comp=blocklist&blocklisttype=uncommitted", accepted=accepted)
    if answer.status != 200:
        return frozenset()
    names = ElementTree.fromstring(answer.body.lstrip(b"\xef\xbb\xbf")).iterfind("./UncommittedBlocks/Block/Name")
    return frozenset(name.text or "" for name in names)


def _md5_of(data: bytes | memoryview) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
