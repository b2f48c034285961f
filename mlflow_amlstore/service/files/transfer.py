"""Moving content between a connection and the disk: in large pieces, on threads, with the memory of two of them.

While one piece is hashed and written, the next is received; while one is sent, the next is read.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request

from mlflow_amlstore.errors import PayloadTooLarge, TransferBroken

PIECE_BYTES = 1024 * 1024
_FEW_PIECES = 8  # up to so many it costs less to write each than to join them
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="amlstore-files")


class _Incoming(Protocol):
    """What a file and a block on their way in have in common."""

    def write(self, chunk: bytes) -> None: ...

    def close(self) -> None: ...


C = TypeVar("C", bound=_Incoming)
T = TypeVar("T")


class Md5Differs(TransferBroken):
    """What arrived doesn't have the MD5 that came with it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "its MD5 is not the one in the header Content-MD5")


async def on_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Return what `work` returns, called on a thread."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)


async def receive(
    request: Request,
    name: str,
    begin: Callable[[], C],
    keep: Callable[[C], T],
    *,
    limit_bytes: int,
    md5: bytes | None = None,
) -> T:
    """Receive a body as a file or block: `begin` makes it and `keep` keeps it, each on a thread.

    Nothing is kept where the client goes away (TransferBroken), sends more than `limit_bytes` (PayloadTooLarge), or
    something else than `md5` is of (Md5Differs).
    """
    receiving = _Receiving(name, begin, keep, md5)
    running: asyncio.Future[Any] | None = None
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    held = size = 0
    try:
        async for chunk in request.stream():
            if not chunk:
                continue
            pieces.append(chunk)
            held += len(chunk)
            size += len(chunk)
            if size > limit_bytes:
                raise PayloadTooLarge(limit_bytes)
            if held >= PIECE_BYTES:
                if running is not None:
                    await asyncio.shield(running)
                running = loop.run_in_executor(_THREADS, receiving.add, pieces)
                pieces, held = [], 0
        if running is not None:
            await asyncio.shield(running)
        running = last = loop.run_in_executor(_THREADS, receiving.finish, pieces)
        return await asyncio.shield(last)
    except ClientDisconnect as error:
        raise TransferBroken(name, "the client went away before all of it was here") from error
    finally:
        if running is not None:  # what is written to can't be closed yet, and its error was raised or doesn't matter
            await asyncio.wait([running])
            running.exception()
        if receiving.is_open:
            await on_thread(receiving.close)


class _Receiving(Generic[C, T]):
    """The part of `receive` that blocks."""

    def __init__(self, name: str, begin: Callable[[], C], keep: Callable[[C], T], md5: bytes | None) -> None:
        self._name = name
        self._begin = begin
        self._keep = keep
        self._expected_md5 = md5
        self._md5 = None if md5 is None else hashlib.md5(usedforsecurity=False)
        self._incoming: C | None = None

    @property
    def is_open(self) -> bool:
        return self._incoming is not None

    def add(self, pieces: Sequence[bytes]) -> None:
        incoming = self._incoming
        if incoming is None:
            incoming = self._incoming = self._begin()
        if len(pieces) > _FEW_PIECES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            incoming.write(piece)
            if self._md5 is not None:
                self._md5.update(piece)

    def finish(self, pieces: Sequence[bytes]) -> T:
        try:
            self.add(pieces)
            if self._md5 is not None and self._md5.digest() != self._expected_md5:
                raise Md5Differs(self._name)
            if self._incoming is None:
                raise RuntimeError("nothing was begun")
            return self._keep(self._incoming)
        finally:
            self.close()

    def close(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()


async def pieces_of(source: BinaryIO, first: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    """`size_bytes` of an open file, of which `first` is read already; closes it in the end."""
    left = size_bytes - len(first)
    reading: Future[bytes] | None = None
    try:
        if left:
            reading = _THREADS.submit(source.read, min(left, PIECE_BYTES))
        yield first
        while reading is not None:
            piece = await asyncio.wrap_future(reading)
            left -= len(piece)
            reading = _THREADS.submit(source.read, min(left, PIECE_BYTES)) if left and piece else None
            yield piece
    finally:
        if reading is None:
            source.close()
        else:  # the client went away: a file mustn't be closed while a thread reads it
            reading.add_done_callback(lambda _: source.close())


def md5_header(digest: bytes) -> str:
    """An MD5 as a header has it."""
    return base64.b64encode(digest).decode()
