"""Files of runs and logged models: contents on disk by their SHA-256, names in SQL. Implements `records.store.Files`.

A name never becomes a path on disk. Content is streamed under a temporary name, hashed as it passes and renamed to its
hash; then one transaction says which names have it. So a reader sees the old file or the new one, a folder appears
at once, and what a killed process leaves behind has no name and is swept by `sweep`.
Content may come from a stream, in chunks that somebody hands over, or in blocks (`records.sql.blocks`).
"""

import errno
import hashlib
import mimetypes
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, or_, select

from mlflow_amlstore.errors import (
    AlreadyExists,
    InvalidValue,
    NotFound,
    PathUnsafe,
    StorageFailed,
    TransferBroken,
    WorkspaceCorrupt,
)
from mlflow_amlstore.records.database import Database, driver_connection, storage_error
from mlflow_amlstore.records.dialects import insert_or_set, key_list, texts_in
from mlflow_amlstore.records.folders import children_of
from mlflow_amlstore.records.locations import check_new_path, check_path, split_location
from mlflow_amlstore.records.sql.blocks import IncomingBlock, StagedBlocks, write_whole
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import files
from mlflow_amlstore.records.types import FileListing, FileRecord

FILES_FOLDER = "files"
CHUNK_BYTES = 1024 * 1024
_INCOMING = "incoming"
_ABANDONED_AFTER_S = 24 * 3600
_CONTENT_COLUMNS = ("size_bytes", "sha256", "content_type", "modified_ms", "md5")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_Progress = Callable[[int], None] | None


class _Incoming(NamedTuple):
    """Content that is on disk under a temporary name."""

    path: str
    temporary: Path
    size_bytes: int
    sha256: str
    content_type: str
    md5: str | None = None


class IncomingFile:
    """A file on its way in: written to, then kept, or dropped by `close`."""

    def __init__(self, owner: "SqlFiles", container: str, path: str, content_type: str | None) -> None:
        self._owner = owner
        self._container = container
        self._path = path
        self._content_type = content_type
        self._cleanup = ExitStack()
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        with owner._our_errors():
            self._temporary = owner._make_temporary(self._cleanup)
            self._sink = self._cleanup.enter_context(self._temporary.open("xb", buffering=0))

    def write(self, chunk: bytes) -> None:
        """Add the next bytes."""
        with self._owner._our_errors():
            write_whole(self._sink, chunk)
        self._digest.update(chunk)
        self._size_bytes += len(chunk)

    def keep(self, *, md5: str | None = None, sha256: str | None = None) -> FileRecord:
        """Give it its name. Raises TransferBroken for a `sha256` that is not the content's."""
        found = self._digest.hexdigest()
        _check_sha256(self._path, found, sha256)
        self._sink.close()
        content_type = self._content_type or _guess_type(self._path)
        content = _Incoming(self._path, self._temporary, self._size_bytes, found, content_type, md5)
        with self._owner._our_errors():
            return self._owner._record(self._container, [content])[0]

    def close(self) -> None:
        """Drop it, unless it was kept."""
        with self._owner._our_errors():
            self._cleanup.close()

    def __enter__(self) -> "IncomingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SqlFiles:
    """Files of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._root = database.folder / FILES_FOLDER
        self._blocks = StagedBlocks(self._root / _INCOMING, self._open_regular, self._our_errors)

    def write(self, container: str, path: str, source: BinaryIO, *, content_type: str | None = None) -> FileRecord:
        _check_container(container)
        path = check_new_path(path)
        with self._our_errors(), ExitStack() as cleanup:
            incoming = self._receive(path, source, cleanup, None, content_type)
            return self._record(container, [incoming])[0]

    def write_local(
        self, container: str, items: Iterable[tuple[str, Path]], *, progress: _Progress = None
    ) -> list[FileRecord]:
        _check_container(container)
        checked = [(check_new_path(path), local) for path, local in items]
        with self._our_errors(), ExitStack() as cleanup:
            received = []
            for path, local in checked:
                with local.open("rb") as source:
                    size_bytes = os.fstat(source.fileno()).st_size
                    received.append(self._receive(path, source, cleanup, progress, None))
                if received[-1].size_bytes < size_bytes:
                    raise TransferBroken(str(local), "the file got shorter while it was copied")
            return self._record(container, received)

    def begin(self, container: str, path: str, *, content_type: str | None = None) -> IncomingFile:
        _check_container(container)
        return IncomingFile(self, container, check_new_path(path), content_type)

    def begin_block(
        self, container: str, path: str, block_id: str, size_bytes: int, *, offset: int | None = None
    ) -> IncomingBlock:
        _check_container(container)
        path = check_new_path(path)
        with self._our_errors():
            self._make_folder(self._inside(self._root / _INCOMING))
            return self._blocks.begin(container, path, block_id, size_bytes, offset)

    def list_blocks(self, container: str, path: str) -> list[tuple[str, int]]:
        _check_container(container)
        with self._our_errors():
            return self._blocks.list_blocks(container, check_path(path))

    def commit_blocks(
        self,
        container: str,
        path: str,
        block_ids: Sequence[str],
        *,
        content_type: str | None = None,
        md5: str | None = None,
        sha256: str | None = None,
    ) -> FileRecord:
        _check_container(container)
        path = check_new_path(path)
        with self._our_errors(), self._blocks.committing(container, path), ExitStack() as cleanup:
            temporary = self._make_temporary(cleanup)
            try:
                size_bytes, found = self._blocks.assemble(container, path, block_ids, temporary)
            except NotFound:
                record = self.find(container, path)
                if record is None or record.sha256 != self._blocks.recall(container, path, block_ids):
                    raise
                return record
            try:
                _check_sha256(path, found, sha256)
            except TransferBroken:
                self._blocks.discard(container, path)
                raise
            content = _Incoming(path, temporary, size_bytes, found, content_type or _guess_type(path), md5)
            (record,) = self._record(container, [content])
            self._blocks.remember(container, path, block_ids, found)
            self._blocks.discard(container, path)
            return record

    def discard_blocks(self, container: str, path: str) -> None:
        _check_container(container)
        with self._our_errors():
            self._blocks.discard(container, check_path(path))

    def open(self, container: str, path: str) -> BinaryIO:
        return self._open_content(container, path)[1]

    def open_record(self, container: str, path: str) -> tuple[FileRecord, BinaryIO]:
        return self._open_content(container, path)

    def download(self, container: str, path: str, target: Path, *, progress: _Progress = None) -> None:
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        record, source = self._open_content(container, path)
        with source:
            try:
                with temporary.open("wb") as sink:
                    found = _copy_hashed(source, sink, progress)[1]
                if found != record.sha256:
                    raise StorageFailed(
                        str(self._database.folder), f"the content of {path!r} is not what was stored (SHA-256 differs)"
                    )
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def find(self, container: str, path: str) -> FileRecord | None:
        _check_container(container)
        with self._database.read() as connection:
            row = connection.execute(_select_files(container).where(files.c.path == check_path(path))).first()
            return None if row is None else FileRecord(*row)

    def list_folder(self, container: str, folder: str = "") -> list[FileListing]:
        files_under = ((record.path, record.size_bytes) for record in self.list_all(container, folder))
        return children_of(check_path(folder) if folder else "", files_under)

    def list_all(
        self, container: str, folder: str = "", *, after: str = "", max_results: int | None = None
    ) -> list[FileRecord]:
        _check_container(container)
        statement = _select_files(container).where(files.c.path > after).order_by(files.c.path).limit(max_results)
        if folder:
            statement = statement.where(_at_or_under(check_path(folder)))
        with self._database.read() as connection:
            records = [FileRecord(*row) for row in connection.execute(statement)]
        for record in records:
            check_path(record.path)  # the database may come from anywhere, and callers make local paths of these
        return records

    def name_again(self, container: str, items: Sequence[tuple[str, str, str]]) -> None:
        _check_container(container)
        now = self._database.now_ms()
        with self._database.write() as connection:
            for path, source, source_path in items:
                record = self._get(source, source_path)
                replaced = _name_content(connection, container, replace(record, path=path, modified_ms=now))
                if replaced:
                    raise AlreadyExists("file", path)

    def delete(self, container: str, path: str = "") -> int:
        _check_container(container)
        chosen = files.c.container == container
        if path:
            chosen = and_(chosen, _at_or_under(check_path(path)))
        with self._our_errors():
            with self._database.write_alone() as connection:
                hashes = list(connection.execute(select(files.c.sha256).where(chosen)).scalars())
                for sha256 in hashes:
                    self._content_path(sha256)  # refuses a link before anything is gone
                connection.execute(delete(files).where(chosen))
            self.remove_unnamed(hashes)
        return len(hashes)

    def remove_unnamed(self, hashes: Sequence[str]) -> int:
        """Remove those contents that no file has any more; return the bytes given back.

        In a write transaction, because a writer names its content in one too: no content goes that is being named.
        """
        freed = 0
        with self._database.write_alone() as connection:
            lock_workspace(driver_connection(connection))
            for sha256 in set(hashes):
                if connection.execute(select(files.c.path).where(files.c.sha256 == sha256).limit(1)).first() is None:
                    content = self._content_path(sha256)
                    with suppress(FileNotFoundError):
                        freed += content.stat().st_size
                        content.unlink()
        return freed

    def sweep(self) -> int:
        """Remove what killed processes left: contents without a name, and uploads abandoned a day ago or longer.

        Returns the bytes given back.
        """
        freed = 0
        for folder in self._root.glob("[0-9a-f][0-9a-f]"):
            names = [content.name for content in self._inside(folder).iterdir()]
            freed += self.remove_unnamed([name for name in names if _SHA256.fullmatch(name)])  # the rest isn't ours
        incoming = self._root / _INCOMING
        for leftover in incoming.iterdir() if incoming.is_dir() else ():
            with suppress(FileNotFoundError):  # its writer finished meanwhile
                freed += _remove_abandoned(leftover)
        return freed

    def _get(self, container: str, path: str) -> FileRecord:
        record = self.find(container, path)
        if record is None:
            raise NotFound("file", path, f"{container} has no such file")
        return record

    def _receive(
        self, path: str, source: BinaryIO, cleanup: ExitStack, progress: _Progress, content_type: str | None
    ) -> _Incoming:
        temporary = self._make_temporary(cleanup)
        with temporary.open("xb") as sink:
            size, sha256 = _copy_hashed(source, sink, progress)
        return _Incoming(path, temporary, size, sha256, content_type or _guess_type(path))

    def _make_temporary(self, cleanup: ExitStack) -> Path:
        """A name for incoming content, which is removed in the end where it hasn't become a file."""
        temporary = self._inside(self._root / _INCOMING) / uuid.uuid4().hex
        self._make_folder(temporary.parent)
        cleanup.callback(temporary.unlink, missing_ok=True)
        return temporary

    def _record(self, container: str, received: Sequence[_Incoming]) -> list[FileRecord]:
        """Give the received contents their names, all in one transaction."""
        now = self._database.now_ms()
        records = [FileRecord(new.path, new.size_bytes, new.sha256, new.content_type, now, new.md5) for new in received]
        replaced: list[str] = []
        with ExitStack() as afterwards, self._database.write_alone() as connection:
            for new, record in zip(received, records, strict=True):
                replaced += _name_content(connection, container, record)
                content = self._content_path(new.sha256)
                self._make_folder(content.parent)
                _free_later(content, afterwards)
                new.temporary.replace(content)
        unnamed = set(replaced) - {record.sha256 for record in records}
        if unnamed:
            self.remove_unnamed(list(unnamed))
        return records

    def _make_folder(self, folder: Path) -> None:
        self._root.mkdir(exist_ok=True)  # without its parents: a workspace that was moved away isn't to come back
        folder.mkdir(exist_ok=True)

    def _content_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):  # the database may come from anywhere
            raise WorkspaceCorrupt(str(self._database.folder), f"a file's checksum is {sha256!r}, which is none")
        return self._inside(self._root / sha256[:2]) / sha256

    def _inside(self, folder: Path) -> Path:
        """The folder, unless somebody made it a link to elsewhere."""
        if folder.is_symlink() or self._root.is_symlink():
            raise _is_link("files folder", folder)
        return folder

    def _open_regular(self, content: Path) -> BinaryIO:
        """Open what must be a plain file, and not a link or a pipe that somebody put there."""
        number = os.open(content, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise PathUnsafe("file content", str(content), "is not a plain file")
        return os.fdopen(number, "rb")

    def _open_content(self, container: str, path: str) -> tuple[FileRecord, BinaryIO]:
        record = self._get(container, path)
        while True:
            content = self._content_path(record.sha256)
            try:
                return record, self._open_regular(content)
            except FileNotFoundError as error:
                found, record = record, self._get(container, path)
                if record == found and not content.exists():
                    problem = f"the content of {path!r} ({record.sha256}) is missing from files/"
                    raise StorageFailed(str(self._database.folder), problem) from error
                # else the file was overwritten since its record was read, and its old content removed
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise _is_link("file content", content) from error
                raise

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        """What the operating system refuses inside the workspace, as our errors; about the caller's files, as it is."""
        try:
            yield
        except OSError as error:
            if error.filename is not None and not Path(error.filename).is_relative_to(self._root):
                raise
            raise storage_error(self._database.folder, error) from error


def _is_link(what: str, path: Path) -> PathUnsafe:
    return PathUnsafe(what, str(path), "is a symbolic link, which could lead out of the workspace")


def _check_container(container: str) -> None:
    if split_location(container) != (container, ""):
        raise PathUnsafe(
            "container", container, "must name the files of a run, a logged model or an upload, without a path"
        )


def _guess_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _check_sha256(path: str, found: str, announced: str | None) -> None:
    if announced is not None and announced != found:
        raise TransferBroken(path, "its SHA-256 is not the one that was announced")


def _free_later(content: Path, afterwards: ExitStack) -> None:
    """Keep content that is about to be replaced by its like: to free it takes time, while others wait to write."""
    if os.name == "posix":  # elsewhere an open file can't be replaced
        with suppress(OSError):
            afterwards.callback(os.close, os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))


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


def _copy_hashed(source: BinaryIO, sink: BinaryIO, progress: _Progress) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        sink.write(chunk)
        size += len(chunk)
        if progress is not None:
            progress(len(chunk))
    return size, digest.hexdigest()


def _select_files(container: str) -> Select[Any]:
    column = files.c
    return select(
        column.path, column.size_bytes, column.sha256, column.content_type, column.modified_ms, column.md5
    ).where(column.container == container)


def _at_or_under(path: str) -> ColumnElement[bool]:
    # A range, so that the primary key serves it; "0" follows "/".
    return or_(files.c.path == path, and_(files.c.path > f"{path}/", files.c.path < f"{path}0"))


def _name_content(connection: Connection, container: str, record: FileRecord) -> list[str]:
    """Give a file's name its content; return the hash of the content it had. A name is a file or a folder, not both."""
    driver = driver_connection(connection)
    lock_workspace(driver)
    parts = record.path.split("/")
    folders = key_list(["/".join(parts[:depth]) for depth in range(1, len(parts))])
    clash = _SELECT_CLASH.run(driver, container, folders, f"{record.path}/", f"{record.path}0").fetchone()
    if clash is not None:
        raise InvalidValue(
            "artifact path", record.path, f"{clash[0]!r} exists, and a path is either a file or a folder"
        )
    replaced = [sha256 for (sha256,) in _SELECT_HASH.run(driver, container, record.path)]
    _UPSERT.run(
        driver,
        container,
        record.path,
        record.size_bytes,
        record.sha256,
        record.content_type,
        record.modified_ms,
        record.md5,
    )
    return replaced


def _select_clash() -> DriverStatement:
    column = files.c
    under = and_(column.path > bindparam("first"), column.path < bindparam("last"))
    is_in_the_way = or_(column.path.in_(texts_in("folders")), under)
    clash = select(column.path).where(column.container == bindparam("container"), is_in_the_way)
    return DriverStatement(clash, "container", "folders", "first", "last")


def _upsert() -> DriverStatement:
    names = ("container", "path", *_CONTENT_COLUMNS)
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return DriverStatement(insert_or_set(files, _CONTENT_COLUMNS, values), *names)


_SELECT_CLASH = _select_clash()
_SELECT_HASH = DriverStatement(
    select(files.c.sha256).where(files.c.container == bindparam("container"), files.c.path == bindparam("path")),
    "container",
    "path",
)
_UPSERT = _upsert()
