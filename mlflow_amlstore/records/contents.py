"""What files contain: by its SHA-256 once it is whole, till then as *incoming* content under a name of its own.

*Growing* content is read while it is written, as a log is. It has a name of its own, too, in the place of a hash.
`ContentFolder` is all that the records know of the place where contents lie. A file's own name never gets here.
"""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_amlstore.errors import PathUnsafe, WorkspaceCorrupt, storage_error

FILES_FOLDER = "files"
INCOMING = "incoming"
_GROWING_FOLDER = "growing"
_COPIED_BYTES = 1024 * 1024
_ABANDONED_AFTER_S = 24 * 3600
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GROWING = re.compile(r"growing-([0-9a-f]{32})")  # no hash has a g
_BINARY = getattr(os, "O_BINARY", 0)
_PLAIN = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def is_growing(name: str) -> bool:
    """Whether content of this name is still written to; else the name is its hash."""
    return _GROWING.fullmatch(name) is not None


class ContentFolder:
    """Contents as `files/ab/ab12…` in a workspace's folder, incoming ones in `files/incoming`, growing ones in
    `files/growing`."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._root = workspace / FILES_FOLDER

    def new_name(self) -> str:
        """A name for incoming content. Those of several that belong together are `FOLDER/NAME`."""
        return uuid.uuid4().hex

    def new_growing_name(self) -> str:
        """A name for growing content."""
        return f"growing-{uuid.uuid4().hex}"

    def grow(self, name: str) -> BinaryIO:
        """Open growing content, new content where there is none. Several processes may write to its end."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY
        return os.fdopen(os.open(self._content(name, is_new=True), flags, 0o666), "ab", buffering=0)

    def write_growing(self, name: str, begin: int, chunk: bytes) -> int | None:
        """Write bytes into growing content from `begin` on; return its size, or None where it ends before `begin`."""
        with self._content(name).open("r+b", buffering=0) as sink:
            if sink.seek(0, os.SEEK_END) < begin:
                return None
            sink.seek(begin)
            write_whole(sink, chunk)
            return sink.seek(0, os.SEEK_END)

    def copy_growing(self, name: str, new_name: str) -> None:
        """Copy growing content into incoming content: whoever may write to the one doesn't change the other."""
        with self.open(name) as source, self.write_at(new_name) as sink:
            shutil.copyfileobj(source, sink, _COPIED_BYTES)

    def link_growing(self, name: str, new_name: str) -> bool:
        """Give growing content the name of an incoming one as well; False where that can't be done."""
        try:
            os.link(self._content(name), self._incoming(new_name, is_new=True))
        except OSError:
            return False  # a file system that has no links
        return True

    def measure(self, name: str) -> tuple[int, str]:
        """The size in bytes and the SHA-256 of incoming content."""
        digest, size_bytes = hashlib.sha256(), 0
        with self.open_incoming(name) as source:
            while chunk := source.read(_COPIED_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
        return size_bytes, digest.hexdigest()

    def has_writers(self, name: str) -> bool:
        """Whether a process may have growing content open for writing; True where that can't be told."""
        try:
            import fcntl

            with self.open(name) as source:
                fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # refused while somebody may write
        except (ImportError, AttributeError, OSError):
            return True
        return False

    def write_at(self, name: str, offset: int = 0) -> BinaryIO:
        """Open incoming content for writing from `offset` on, new content where there is none; see `write_whole`."""
        number = os.open(self._incoming(name, is_new=True), os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        sink = os.fdopen(number, "r+b", buffering=0)
        sink.seek(offset)
        return sink

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of incoming content, all at once."""
        with self._incoming(name, is_new=True).open("ab", buffering=0) as sink:
            sink.write(data)

    def open_incoming(self, name: str) -> BinaryIO:
        """Open incoming content for reading from any place."""
        return _open_plain(self._incoming(name))

    def link(self, name: str, new_name: str, size_bytes: int) -> bool:
        """Give incoming content, cut off after `size_bytes`, another name as well; False where that can't be done.

        From then on it may not be written to.
        """
        path = self._incoming(name)
        if path.stat().st_size != size_bytes:
            os.truncate(path, size_bytes)
        try:
            os.link(path, self._incoming(new_name, is_new=True))
        except OSError:
            return False  # a file system that has no links
        return True

    def list_incoming(self, folder: str) -> list[str]:
        """The names of what is incoming in a folder."""
        path = self._root / INCOMING / folder
        return [f"{folder}/{found.name}" for found in path.iterdir()] if path.is_dir() and not path.is_symlink() else []

    def drop(self, name: str) -> None:
        """Remove incoming content, or a folder of it, if it is there. What is left of a folder is swept later."""
        path = self._root / INCOMING / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def put(self, name: str, sha256: str) -> BinaryIO | None:
        """Make incoming content the content of this hash, in the place of one that is there.

        To free the old one takes time; it is returned, if it was opened, to be closed when nobody has to wait for it.
        """
        content = self._content(sha256, is_new=True)
        replaced = None
        if os.name == "posix":  # elsewhere an open file can't be replaced
            with suppress(OSError, PathUnsafe):
                replaced = _open_plain(content)
        self._incoming(name).replace(content)
        return replaced

    def open(self, sha256: str) -> BinaryIO:
        """Open content for reading from any place. Raises FileNotFoundError, PathUnsafe, WorkspaceCorrupt."""
        return _open_plain(self._content(sha256))

    def has(self, sha256: str) -> bool:
        """Whether there is content of this hash. Raises PathUnsafe, WorkspaceCorrupt."""
        return self._content(sha256).exists()

    def delete(self, sha256: str) -> int:
        """Remove content, if it is there; return the bytes given back."""
        content = self._content(sha256)
        try:
            freed = content.stat().st_size
            content.unlink()
        except FileNotFoundError:
            return 0
        return freed

    def list_contents(self) -> Iterator[list[str]]:
        """The names of all contents, in portions: hashes, and those of growing ones."""
        for folder in self._root.glob("[0-9a-f][0-9a-f]"):
            names = [content.name for content in self._inside(folder).iterdir()]
            yield [name for name in names if _SHA256.fullmatch(name)]  # the rest isn't ours
        growing = self._root / _GROWING_FOLDER
        if growing.exists():
            old = time.time() - _ABANDONED_AFTER_S  # a younger one may be about to get its name
            found = [content for content in self._inside(growing).iterdir() if content.lstat().st_mtime < old]
            yield [name for name in (f"growing-{content.name}" for content in found) if is_growing(name)]

    def sweep_incoming(self) -> int:
        """Remove what nobody has written to for a day; return the bytes given back."""
        incoming = self._root / INCOMING
        freed = 0
        for leftover in incoming.iterdir() if incoming.is_dir() else ():
            with suppress(FileNotFoundError):  # its writer finished meanwhile
                freed += _remove_abandoned(leftover)
        return freed

    @contextmanager
    def our_errors(self) -> Iterator[None]:
        """What the operating system refuses inside the workspace, as our errors; about the caller's files, as it is."""
        try:
            yield
        except OSError as error:
            if error.filename is not None and not Path(error.filename).is_relative_to(self._root):
                raise
            raise storage_error(self.workspace, error) from error

    def _content(self, sha256: str, *, is_new: bool = False) -> Path:
        if growing := _GROWING.fullmatch(sha256):
            return self._inside(self._root / _GROWING_FOLDER, is_new=is_new) / growing[1]
        if not _SHA256.fullmatch(sha256):  # the database may come from anywhere
            raise WorkspaceCorrupt(str(self.workspace), f"a file's checksum is {sha256!r}, which is none")
        return self._inside(self._root / sha256[:2], is_new=is_new) / sha256

    def _incoming(self, name: str, *, is_new: bool = False) -> Path:
        path = self._root / INCOMING / name
        if "/" in name:
            self._inside(self._root / INCOMING, is_new=is_new)
        return self._inside(path.parent, is_new=is_new) / path.name

    def _inside(self, folder: Path, *, is_new: bool = False) -> Path:
        """The folder, unless somebody made it a link to elsewhere."""
        if folder.is_symlink() or self._root.is_symlink():
            raise _is_link("files folder", folder)
        if is_new:
            self._root.mkdir(exist_ok=True)  # without its parents: a workspace that was moved away isn't to come back
            folder.mkdir(exist_ok=True)
        return folder


class CheckedContent(io.RawIOBase):
    """Content that is open for reading. Whoever reads all of it, from its beginning, is never given the last of its
    bytes where it is not what was stored: `damaged()` is raised instead, and `failed(error)` where the operating system
    can't read it. Growing content ends at `size_bytes`.
    """

    def __init__(
        self,
        content: BinaryIO,
        sha256: str,
        size_bytes: int,
        damaged: Callable[[], Exception],
        failed: Callable[[OSError], Exception],
    ) -> None:
        self._content = content
        self._sha256 = sha256
        self._damaged = damaged
        self._failed = failed
        self._size_bytes = size_bytes
        self._position = 0
        self._is_hashed = not is_growing(sha256)
        # None where a part was left out
        self._hashed: hashlib._Hash | None = hashlib.sha256() if self._is_hashed else None
        if not self._size_bytes:
            self._check()

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes. Raises `damaged()`, `failed(error)`."""
        given = memoryview(buffer)[: max(0, self._size_bytes - self._position)]
        try:
            count = self._content.readinto(given)  # type: ignore[attr-defined]
        except OSError as error:
            raise self._failed(error) from error
        self._position += count
        if self._hashed is not None:
            self._hashed.update(given[:count])
            if count and self._position >= self._size_bytes:
                self._check()
        return int(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place; what is read is checked again from the beginning alone."""
        if whence == os.SEEK_END:
            offset, whence = self._size_bytes + offset, os.SEEK_SET
        position = self._content.seek(offset, whence)
        if position == 0 and self._is_hashed:
            self._hashed = hashlib.sha256()
        elif position != self._position:
            self._hashed = None
        self._position = position
        return position

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._content.close()
        super().close()

    def _check(self) -> None:
        if self._hashed is not None and self._hashed.hexdigest() != self._sha256:
            raise self._damaged()


def write_whole(sink: BinaryIO, chunk: bytes | memoryview) -> None:
    """Write all of a chunk to an unbuffered file, which may take it in parts."""
    written = sink.write(chunk)
    while written < len(chunk):
        chunk = memoryview(chunk)[written:]
        written = sink.write(chunk)


def _open_plain(path: Path) -> BinaryIO:
    """Open what must be a plain file, and not a link or a pipe that somebody put there."""
    try:
        number = os.open(path, os.O_RDONLY | _PLAIN)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _is_link("file content", path) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise PathUnsafe("file content", str(path), "is not a plain file")
    return os.fdopen(number, "rb")


def _is_link(what: str, path: Path) -> PathUnsafe:
    return PathUnsafe(what, str(path), "is a symbolic link, which could lead out of the workspace")


def _remove_abandoned(leftover: Path) -> int:
    """Remove content that was on its way, or a folder of blocks, if nobody has written to it for a day."""
    status = leftover.lstat()
    if stat.S_ISDIR(status.st_mode):
        if not _SHA256.fullmatch(leftover.name):
            return 0  # not ours
        parts = [part.lstat() for part in leftover.iterdir()]
        if max(part.st_mtime for part in (status, *parts)) >= time.time() - _ABANDONED_AFTER_S:
            return 0
        shutil.rmtree(leftover)
        return sum(part.st_size for part in parts)
    if status.st_mtime >= time.time() - _ABANDONED_AFTER_S:
        return 0
    leftover.unlink()
    return status.st_size
