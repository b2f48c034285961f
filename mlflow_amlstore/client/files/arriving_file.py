"""A local file whose ranges arrive on several threads, and its SHA-256."""

import hashlib
import os
import threading
from collections.abc import Callable
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024


class ArrivingFile:
    """The file that chunks go to. Safe across threads, which need not wait for each other where the system can write
    at an offset."""

    def __init__(self, opened: BinaryIO, progress: Callable[[int], None] | None) -> None:
        self._opened, self._progress = opened, progress
        self._number = opened.fileno()
        self._lock = threading.Lock()

    def make_room(self, size_bytes: int) -> None:
        """Allocate the file at once: writing into it takes a third of the time then, and a full disk is told early."""
        if size_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._number, 0, size_bytes)

    def write(self, offset: int, chunk: bytes) -> None:
        """Write a chunk, and tell the progress."""
        view = memoryview(chunk)
        while view:
            written = self._write_some(offset, view)
            offset += written
            view = view[written:]
        if self._progress is not None:
            with self._lock:
                self._progress(len(chunk))

    def _write_some(self, offset: int, view: memoryview) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._number, view, offset)
        with self._lock:
            self._opened.seek(offset)
            return self._opened.write(view)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read what was written; return how many bytes."""
        if hasattr(os, "preadv"):
            return os.preadv(self._number, [buffer], offset)
        with self._lock:
            self._opened.seek(offset)
            return self._opened.readinto(buffer)  # type: ignore[attr-defined,no-any-return]  # unbuffered files have it


class OrderedSha256:
    """The SHA-256 of a file whose ranges come in any order: whoever completes the next one takes it from the disk's
    cache, while the others receive."""

    def __init__(self, file: ArrivingFile) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._end = 0
        self._whole: dict[int, int] = {}
        self._lock = threading.Lock()
        self._hashing = threading.Lock()

    def add(self, first: int, end: int) -> None:
        """Note that the range from `first` up to `end` is whole."""
        with self._lock:
            self._whole[first] = end
        self.take_what_is_next()

    def take_what_is_next(self) -> None:
        """Take the ranges that are next, unless another thread is at it."""
        while self._hashing.acquire(blocking=False):
            try:
                with self._lock:
                    upto = self._whole.pop(self._end, None)
                if upto is None:
                    return
                while self._end < upto:
                    count = self._file.read_into(self._end, self._buffer[: upto - self._end])
                    self._digest.update(self._buffer[:count])
                    self._end += count
            finally:
                self._hashing.release()

    def hexdigest(self) -> str:
        """The digest, once all ranges are there."""
        self.take_what_is_next()  # what was completed while another was being taken
        return self._digest.hexdigest()
