"""Blocks: parts of a file that arrive one by one, in any order, and become the file when their list is committed.

The blocks of one file are written side by side into one data file, each beside a line in an index that says which block
lies where once it is whole. So a list in the order in which the blocks lie, which is the usual one, makes the data file
the content as it is: nothing is copied, and the SHA-256 of its beginning was taken as it arrived. Any other list is
copied together.

An upload is on disk: a data file belongs to the process that made it, which alone remembers what room in it is free and
how far it is hashed; the blocks of a service that ended are found by their index.
"""

import base64
import binascii
import hashlib
import json
import threading
import time
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

from mlflow_amlstore.errors import InvalidValue, NotFound, TransferBroken
from mlflow_amlstore.records.contents import ContentFolder, write_whole

READ_BYTES = 1024 * 1024
MAX_BLOCKS = 50_000  # in one list, as Azure has it
MAX_STAGED_BLOCKS = 100_000
MAX_FILE_BYTES = 1024**4
_MAX_BLOCK_ID_BYTES = 64
_HASHED_AT_ONCE_BYTES = 64 * 1024 * 1024
_REMEMBERED = 1000
_MAX_GAP_BLOCKS = 64  # as many as clients send at once, and more
_MAX_GIVEN_BACK = 1000
_DATA, _INDEX = ".data", ".index"


class _Piece(NamedTuple):
    """Where a whole block lies: in which incoming content."""

    data: str
    offset: int
    size_bytes: int


class StagedBlocks:
    """The blocks that wait among incoming contents, those of each file in a folder of their own. Thread-safe."""

    def __init__(self, contents: ContentFolder) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._assemblies: OrderedDict[str, _Assembly] = OrderedDict()
        self._committing: dict[str, tuple[threading.Lock, list[None]]] = {}

    def begin(self, container: str, path: str, block_id: str, size_bytes: int, offset: int | None) -> "IncomingBlock":
        """Make room for a block. `offset` is where it will be in the file, if that is known."""
        _check_block_id(block_id)
        if not 0 < size_bytes <= MAX_FILE_BYTES:
            raise InvalidValue("block size", size_bytes, f"must be from 1 to {MAX_FILE_BYTES} bytes")
        if offset is not None and not 0 <= offset <= MAX_FILE_BYTES:
            raise InvalidValue("block offset", offset, f"must be from 0 to {MAX_FILE_BYTES}")
        name = _folder_name(container, path)
        with self._lock:
            assembly = self._assemblies.get(name)
            if assembly is None or assembly.is_closed:
                assembly = self._assemblies[name] = _Assembly(self._contents, name)
            self._assemblies.move_to_end(name)
            while len(self._assemblies) > _REMEMBERED:
                self._assemblies.popitem(last=False)  # its blocks stay usable, by their index
        return assembly.begin(path, block_id, size_bytes, offset)

    def list_blocks(self, container: str, path: str) -> list[tuple[str, int]]:
        """Return `(block_id, size_bytes)` of the whole blocks, in the order of their arrival."""
        pieces = self._read(_folder_name(container, path))
        return [(block_id, piece.size_bytes) for block_id, piece in pieces.items()]

    @contextmanager
    def committing(self, container: str, path: str) -> Iterator[None]:
        """Let one list at a time be committed to a file: a list that is sent again waits for the first's outcome."""
        name = _folder_name(container, path)
        with self._lock:
            lock, waiting = self._committing.setdefault(name, (threading.Lock(), []))
            waiting.append(None)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                waiting.pop()
                if not waiting:
                    del self._committing[name]

    def assemble(self, container: str, path: str, block_ids: Sequence[str], target: str) -> tuple[int, str]:
        """Make the incoming content `target` of these blocks, which stay as they are; return its size and SHA-256.

        Raises NotFound.
        """
        if len(block_ids) > MAX_BLOCKS:
            raise InvalidValue("block list", f"{len(block_ids)} blocks", f"must have at most {MAX_BLOCKS} blocks")
        name = _folder_name(container, path)
        known = self._read(name)
        missing = next((block_id for block_id in block_ids if block_id not in known), None)
        if missing is not None:
            raise NotFound("block", missing, f"{len(known)} blocks of {path!r:.100} are here; send it, then the list")
        pieces = [known[block_id] for block_id in block_ids]
        size = sum(piece.size_bytes for piece in pieces)
        if size > MAX_FILE_BYTES:
            raise InvalidValue("file size", size, f"must be at most {MAX_FILE_BYTES} bytes")
        with self._lock:
            assembly = self._assemblies.get(name)
        if assembly is not None and pieces:
            sha256 = assembly.link(pieces, size, target)
            if sha256 is not None:
                return size, sha256
        return size, self._copy(pieces, target)

    def discard(self, container: str, path: str) -> None:
        """Remove a file's blocks; those on their way are refused when they are whole."""
        name = _folder_name(container, path)
        with self._lock:
            assembly = self._assemblies.pop(name, None)
        if assembly is not None:
            assembly.close()
        self._contents.drop(name)

    def _read(self, name: str) -> Mapping[str, _Piece]:
        """The whole blocks by id; of two with one id, the later."""
        found: dict[str, tuple[int, _Piece]] = {}
        for index in self._contents.list_incoming(name):
            if not index.endswith(_INDEX):
                continue
            with suppress(FileNotFoundError), self._contents.open_incoming(index) as lines:
                for line in lines:
                    with suppress(ValueError, TypeError, KeyError):  # a line that a killed process didn't finish
                        said = json.loads(line)
                        piece = _Piece(index.removesuffix(_INDEX) + _DATA, int(said["offset"]), int(said["size"]))
                        block_id, time_ns = str(said["id"]), int(said["time_ns"])
                        if piece.offset < 0 or piece.size_bytes <= 0:
                            continue  # the folder may come from anywhere
                        if block_id not in found or found[block_id][0] < time_ns:
                            found[block_id] = time_ns, piece
        in_order = sorted(found.items(), key=lambda one: one[1][0])
        return {block_id: piece for block_id, (_, piece) in in_order}

    def _copy(self, pieces: Sequence[_Piece], target: str) -> str:
        digest = hashlib.sha256()
        with self._contents.write_at(target) as sink:
            position = 0
            while position < len(pieces):
                data = pieces[position].data
                with self._contents.open_incoming(data) as source:
                    while position < len(pieces) and pieces[position].data == data:
                        source.seek(pieces[position].offset)
                        for chunk in _chunks(source, pieces[position].size_bytes):
                            digest.update(chunk)
                            write_whole(sink, chunk)
                        position += 1
        return digest.hexdigest()


class IncomingBlock:
    """A block on its way in, chunk by chunk, in one thread at a time; without `keep` it leaves no trace."""

    def __init__(self, assembly: "_Assembly", path: str, block_id: str, size_bytes: int, offset: int) -> None:
        self._assembly = assembly
        self._path = path
        self._block_id = block_id
        self._size_bytes = size_bytes
        self._offset = offset
        self._written = 0
        self._is_open = True
        self._digest = assembly.begin_hashing(offset)
        self._sink: BinaryIO | None = None

    def write(self, chunk: bytes) -> None:
        """Add the next bytes. Raises TransferBroken for more than were announced."""
        if self._written + len(chunk) > self._size_bytes:
            raise TransferBroken(self._path, f"a block has more than the {self._size_bytes} bytes that were announced")
        with self._assembly.contents.our_errors():
            if self._sink is None:
                self._sink = self._assembly.open(self._path, self._offset)
            write_whole(self._sink, chunk)
        if self._digest is not None:
            self._digest.update(chunk)
        self._written += len(chunk)

    def keep(self) -> None:
        """Make it one of the file's blocks, in the place of one that has its id. Raises TransferBroken if not whole."""
        if self._written != self._size_bytes:
            raise TransferBroken(self._path, f"a block ended after {self._written} of {self._size_bytes} bytes")
        with self._assembly.contents.our_errors():
            if self._sink is not None:
                self._sink.close()
            self._assembly.keep(self._path, self._block_id, self._size_bytes, self._offset, self._digest)
        self._is_open = False

    def close(self) -> None:
        """Drop what wasn't kept. Calling it again does nothing."""
        if self._sink is not None:
            self._sink.close()
        if self._is_open:
            self._is_open = False
            self._assembly.give_back(self._size_bytes, self._offset, was_hashing=self._digest is not None)

    def __enter__(self) -> "IncomingBlock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Assembly:
    """One data file with its index, and the SHA-256 of as much of its beginning as is there."""

    def __init__(self, contents: ContentFolder, folder: str) -> None:
        name = f"{folder}/{contents.new_name()}"
        self.contents = contents
        self._data, self._index = name + _DATA, name + _INDEX
        self._changed = threading.Condition()
        self._regions: list[tuple[int, int]] = []  # (offset, size) of blocks whole or on their way, by offset
        self._given_back: list[tuple[int, int]] = []
        self._whole: dict[int, int] = {}  # size by offset
        self._digest = hashlib.sha256()
        self._hashed_bytes = 0
        self._is_hashing = False
        self.is_closed = False  # then nothing may be written here any more
        self._last_ns = 0
        self._largest_bytes = 0  # of a block

    def begin(self, path: str, block_id: str, size_bytes: int, offset: int | None) -> IncomingBlock:
        with self._changed:
            self._check_open(path)
            if len(self._regions) >= MAX_STAGED_BLOCKS:
                raise InvalidValue("block", block_id, f"is one too many: {MAX_STAGED_BLOCKS} wait to be committed")
            reserved = self._reserve(size_bytes, offset)
        return IncomingBlock(self, path, block_id, size_bytes, reserved)

    def open(self, path: str, offset: int) -> BinaryIO:
        """The data file at `offset`, for writing."""
        self._check_open(path)
        return self.contents.write_at(self._data, offset)

    def begin_hashing(self, offset: int) -> "hashlib._Hash | None":
        """The digest to go on with for whoever writes the bytes that are to be hashed next."""
        with self._changed:
            if self._is_hashing or offset != self._hashed_bytes:
                return None
            self._is_hashing = True
            return self._digest.copy()

    def keep(self, path: str, block_id: str, size_bytes: int, offset: int, digest: "hashlib._Hash | None") -> None:
        with self._changed:
            self._check_open(path)
            self._last_ns = max(self._last_ns + 1, time.time_ns())
            line = {"id": block_id, "offset": offset, "size": size_bytes, "time_ns": self._last_ns}
            self.contents.append(self._index, json.dumps(line).encode() + b"\n")
            self._whole[offset] = size_bytes
            if digest is not None:
                self._hashed_to(digest, size_bytes)
        left = _HASHED_AT_ONCE_BYTES  # bounded, so that no sender waits for all the others' blocks
        while left > 0 and (hashed := self._hash_next()):
            left -= hashed

    def give_back(self, size_bytes: int, offset: int, *, was_hashing: bool) -> None:
        with self._changed:
            self._regions.remove((offset, size_bytes))
            self._given_back = [*self._given_back[-_MAX_GIVEN_BACK:], (offset, size_bytes)]
            if was_hashing:
                self._is_hashing = False
                self._changed.notify_all()

    def link(self, pieces: Sequence[_Piece], size_bytes: int, target: str) -> str | None:
        """Make `target` the data file itself where it is just these pieces; return its SHA-256, else None."""
        with self._changed:
            if self.is_closed or self._end() != size_bytes or not _are_adjoining(self._data, pieces):
                return None
        while self._hash_next(wait_for_bytes=size_bytes):
            pass
        with self._changed:
            if self._end() != size_bytes or self._hashed_bytes != size_bytes:
                return None
            if not self.contents.link(self._data, target, size_bytes):  # beyond, a block was given up
                return None
            self.is_closed = True  # as the data file is content now
            return self._digest.hexdigest()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True

    def _check_open(self, path: str) -> None:
        if self.is_closed:
            raise TransferBroken(path, "its blocks were committed or dropped meanwhile")

    def _end(self) -> int:
        return sum(self._regions[-1]) if self._regions else 0

    def _reserve(self, size_bytes: int, offset: int | None) -> int:
        if offset is None or self._is_far(offset, size_bytes) or not self._is_free(offset, size_bytes):
            same_size = [region for region in self._given_back if region[1] == size_bytes and self._is_free(*region)]
            if same_size:
                self._given_back.remove(same_size[0])
            offset = same_size[0][0] if same_size else self._end()
        insort(self._regions, (offset, size_bytes))
        return offset

    def _is_far(self, offset: int, size_bytes: int) -> bool:
        """Whether a block would leave a gap that no sender's blocks explain, in a file that looks as large as that."""
        self._largest_bytes = max(self._largest_bytes, size_bytes)
        return offset > self._end() + _MAX_GAP_BLOCKS * self._largest_bytes

    def _is_free(self, offset: int, size_bytes: int) -> bool:
        position = bisect_left(self._regions, (offset, 0))
        is_free_before = position == 0 or sum(self._regions[position - 1]) <= offset
        return is_free_before and (position == len(self._regions) or offset + size_bytes <= self._regions[position][0])

    def _hashed_to(self, digest: "hashlib._Hash", size_bytes: int) -> None:
        self._digest = digest
        self._hashed_bytes += size_bytes
        self._is_hashing = False
        self._changed.notify_all()

    def _hash_next(self, *, wait_for_bytes: int = 0) -> int:
        """Hash the block that comes next, if it is whole and nobody is hashing; return its size, or 0 if not.

        Somebody who is hashing is waited for where less than `wait_for_bytes` are hashed.
        """
        with self._changed:
            while self._is_hashing and self._hashed_bytes < wait_for_bytes:
                self._changed.wait()
            size_bytes = self._whole.get(self._hashed_bytes)
            if size_bytes is None or self._is_hashing or self.is_closed:
                return 0
            self._is_hashing = True
            offset, digest = self._hashed_bytes, self._digest.copy()
        try:
            with self.contents.open_incoming(self._data) as source:
                source.seek(offset)
                for chunk in _chunks(source, size_bytes):
                    digest.update(chunk)
        except BaseException:
            with self._changed:
                self._is_hashing = False
                self._changed.notify_all()
            raise
        with self._changed:
            self._hashed_to(digest, size_bytes)
        return size_bytes


def _chunks(source: BinaryIO, size_bytes: int) -> Iterator[memoryview]:
    """The next `size_bytes`, in a buffer that is used again. Raises TransferBroken where the file ends before."""
    buffer = memoryview(bytearray(min(READ_BYTES, size_bytes)))
    left = size_bytes
    while left:
        count = source.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]
        if not count:
            raise TransferBroken("block", "what was stored of it is gone")
        yield buffer[:count]
        left -= count


def _are_adjoining(data: str, pieces: Sequence[_Piece]) -> bool:
    expected = 0
    for piece in pieces:
        if piece.data != data or piece.offset != expected:
            return False
        expected += piece.size_bytes
    return True


def _folder_name(container: str, path: str) -> str:
    return hashlib.sha256(f"{container}\0{path}".encode()).hexdigest()


def _check_block_id(block_id: str) -> None:
    try:
        decoded = base64.b64decode(block_id.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidValue("block id", block_id, "must be Base64") from error
    if not 0 < len(decoded) <= _MAX_BLOCK_ID_BYTES:
        raise InvalidValue("block id", block_id, f"must be of 1 to {_MAX_BLOCK_ID_BYTES} bytes, in Base64")
