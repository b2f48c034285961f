"""Files of runs and logged models: names in SQL, contents in a `ContentFolder`. Implements `common_store.CommonFiles`.

A name never becomes a path on disk. Content is hashed as it comes in, under a name of its own; then one transaction
makes it the content of its hash and says which names have it. So a reader sees the old file or the new one, a folder
appears at once, and what a killed process leaves behind has no name and is swept by `sweep`.
Content may come from a stream, in chunks that somebody hands over, or in blocks (`records.sql.blocks`). A file that
grows (`GrowingFile`) is there from its beginning: its row names content that is written to yet.
"""

import hashlib
import io
import json
import mimetypes
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, or_, select, union_all, update

from mlflow_amlstore.errors import (
    AlreadyExists,
    InvalidState,
    InvalidValue,
    NotFound,
    PathUnsafe,
    StorageFailed,
    TransferBroken,
)
from mlflow_amlstore.records.contents import CheckedContent, ContentFolder, write_whole
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import insert_or_set, key_list, texts_in
from mlflow_amlstore.records.folders import children_of, file_and_folder
from mlflow_amlstore.records.local_place import arriving
from mlflow_amlstore.records.locations import check_new_path, check_path, split_location
from mlflow_amlstore.records.sql.applied_requests import recall, remember
from mlflow_amlstore.records.sql.blocks import IncomingBlock, StagedBlocks
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import files
from mlflow_amlstore.records.types import FileListing, FileRecord, Page

CHUNK_BYTES = 1024 * 1024
_CONTENT_COLUMNS = ("size_bytes", "sha256", "content_type", "modified_ms", "md5")

_Progress = Callable[[int], None] | None


class IncomingFile:
    """A file on its way in, chunk by chunk, in one thread at a time; without `keep` it leaves no trace."""

    def __init__(self, owner: "SqlFiles", container: str, path: str, content_type: str | None = None) -> None:
        self._owner, self._contents = owner, owner.contents
        self._container, self._path = container, path
        self._content_type = content_type or _guess_type(path)
        self._name = self._contents.new_name()
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        with self._contents.our_errors():
            self._sink = self._contents.write_at(self._name)

    def write(self, chunk: bytes) -> None:
        """Add the next bytes."""
        with self._contents.our_errors():
            write_whole(self._sink, chunk)
        self._digest.update(chunk)
        self._size_bytes += len(chunk)

    def write_all(self, source: BinaryIO, progress: _Progress = None) -> int:
        """Add all that a stream has; return how many bytes there are then."""
        while chunk := source.read(CHUNK_BYTES):
            self.write(chunk)
            if progress is not None:
                progress(len(chunk))
        return self._size_bytes

    def end(self, md5: str | None = None) -> tuple[str, FileRecord]:
        """Write no more. Return the name of the content, and the record that it is to have."""
        self._sink.close()
        now, sha256 = self._owner.now_ms(), self._digest.hexdigest()
        return self._name, FileRecord(self._path, self._size_bytes, sha256, self._content_type, now, md5)

    def keep(self, *, md5: str | None = None, sha256: str | None = None) -> FileRecord:
        """Give it its name, replacing what was there. Raises TransferBroken for a `sha256` (hex) not the content's.

        `md5` (hex) is recorded as it is given.
        """
        name, record = self.end(md5)
        _check_sha256(self._path, record.sha256, sha256)
        with self._contents.our_errors():
            self._owner.record(self._container, [(name, record)])
        return record

    def close(self) -> None:
        """Drop what wasn't kept. Calling it again does nothing."""
        with self._contents.our_errors():
            self._sink.close()
            self._contents.drop(self._name)

    def __enter__(self) -> "IncomingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GrowingFile:
    """A file that is read while it is written, such as a log, in one thread at a time.

    Whoever is given `fileno()` writes to its end, too. Readers see as much as was there when it was last `shown`. If
    its process is killed it stays as it is, and grows no more; `SqlFiles.end_growing` makes it a file like others.
    """

    def __init__(self, owner: "SqlFiles", container: str, path: str, name: str, sink: BinaryIO) -> None:
        self._owner, self._container, self._path, self._name, self._sink = owner, container, path, name, sink
        self._shown_bytes = 0

    def fileno(self) -> int:
        """The open file, for a process to write to."""
        return self._sink.fileno()

    def write(self, chunk: bytes) -> None:
        """Add bytes to its end."""
        with self._owner.contents.our_errors():
            write_whole(self._sink, chunk)

    def show(self) -> int:
        """Let readers see what has been written, by whomever; return how many bytes that are."""
        size_bytes = os.fstat(self._sink.fileno()).st_size
        if size_bytes != self._shown_bytes:
            self._owner.show_growing(self._container, self._path, self._name, size_bytes)
            self._shown_bytes = size_bytes
        return size_bytes

    def close(self) -> None:
        """Write no more here; `SqlFiles.append` and `SqlFiles.end_growing` go on."""
        self._sink.close()

    def end(self, *, also: Sequence[str] = ()) -> FileRecord | None:
        """Write no more: it becomes a file like others. None where it was deleted or replaced meanwhile."""
        self.close()
        return self._owner.end_growing(self._container, self._path, self._name, also=also)


_RESTORE_FILES = "Restore files/ from a copy; `amlstore doctor --deep` lists what else is wrong"
_LET_READ = "Give this user permission to read files/ and what is in it"


class SqlFiles:
    """Files of containers. A container is what `records.locations` names: a run's files, or a logged model's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.contents = ContentFolder(database.folder)
        self._blocks = StagedBlocks(self.contents)

    def now_ms(self) -> int:
        """The time that a file gets that is written now."""
        return self._database.now_ms()

    def write(self, container: str, path: str, source: BinaryIO, *, content_type: str | None = None) -> FileRecord:
        with self.contents.our_errors(), self.begin(container, path, content_type=content_type) as incoming:
            incoming.write_all(source)
            return incoming.keep()

    def write_local(
        self, container: str, items: Iterable[tuple[str, Path]], *, progress: _Progress = None
    ) -> list[FileRecord]:
        _check_container(container)
        checked = [(check_new_path(path), local) for path, local in items]
        with self.contents.our_errors(), ExitStack() as incoming_files:
            received = []
            for path, local in checked:
                with local.open("rb") as source:
                    incoming = incoming_files.enter_context(IncomingFile(self, container, path))
                    size_bytes = os.fstat(source.fileno()).st_size
                    if incoming.write_all(source, progress) < size_bytes:
                        raise TransferBroken(str(local), "the file got shorter while it was copied")
                received.append(incoming.end())
            return self.record(container, received)

    def begin(self, container: str, path: str, *, content_type: str | None = None) -> IncomingFile:
        """Begin to receive a file in chunks; close it in any case."""
        _check_container(container)
        return IncomingFile(self, container, check_new_path(path), content_type)

    def grow(self, container: str, path: str, *, name: str | None = None) -> GrowingFile:
        """Begin a file that is read while it is written, replacing what was there.

        `name` is that of growing content which a process writes to already (`ContentFolder.new_growing_name`).
        """
        _check_container(container)
        name = name or self.contents.new_growing_name()
        record = FileRecord(check_new_path(path), 0, name, _guess_type(path), self.now_ms())
        with self.contents.our_errors():
            sink = self.contents.grow(name)
            with self._database.write_alone() as connection:
                replaced = _name_content(connection, container, record)
            self.remove_unnamed(replaced)
        return GrowingFile(self, container, path, name, sink)

    def show_growing(self, container: str, path: str, name: str, size_bytes: int) -> None:
        """Set how much of a growing file readers see. One that was deleted or replaced stays so."""
        with self._database.write() as connection:
            _SHOW.run(driver_connection(connection), size_bytes, self.now_ms(), container, path, name)

    def append(self, container: str, path: str, begin: int, chunk: bytes) -> int:
        """Write bytes into a growing file from `begin` on, and show them; return how many bytes it has now.

        The same bytes at the same place may be written again. Raises NotFound; InvalidState for a file that doesn't
        grow; InvalidValue where the file ends before `begin`.
        """
        record = self.find(container, path)
        if record is None:
            raise NotFound("file", path, f"{container} has no such file")
        if not record.is_growing:
            raise InvalidState(f"The file {path!r:.200} doesn't grow any more, so nothing can be appended to it")
        with self.contents.our_errors():
            try:
                size_bytes = self.contents.write_growing(record.sha256, begin, chunk)
            except OSError:
                with suppress(OSError), self.contents.grow(record.sha256) as sink:
                    sink.truncate(record.size_bytes)  # a part of it would take the last room that the disk has
                raise
        if size_bytes is None:
            rule = f"the file {path!r:.200} ends before it, and may have no holes"
            raise InvalidValue("position to append at", begin, rule)
        self.show_growing(container, path, record.sha256, size_bytes)
        return size_bytes

    def read_part(self, container: str, path: str, begin: int, most_bytes: int) -> bytes:
        with self.open(container, path) as source:
            source.seek(begin)
            return source.read(most_bytes)

    def end_growing(
        self,
        container: str,
        path: str,
        name: str | None = None,
        *,
        local: Path | None = None,  # all that its process wrote is here
        also: Sequence[str] = (),
    ) -> FileRecord | None:
        """Make a growing file one like others, under other names too, where these are free; None where there is none,
        or `name` says that it was another one.

        Its process has ended, or writes no more. What others may yet write to is copied.
        """
        record = self.find(container, path)
        if record is None or not record.is_growing or name not in (None, record.sha256):
            return None
        with self.contents.our_errors():
            name, arriving = record.sha256, self.contents.new_name()
            try:
                # The growing content stays in its place until the commit, for readers, and for the case of a kill.
                if self.contents.has_writers(name) or not self.contents.link_growing(name, arriving):
                    self.contents.copy_growing(name, arriving)
                size_bytes, sha256 = self.contents.measure(arriving)
                ended = replace(record, size_bytes=size_bytes, sha256=sha256, modified_ms=self.now_ms())
                with ExitStack() as afterwards, self._database.write_alone() as connection:
                    driver = driver_connection(connection)
                    lock_workspace(driver)
                    if not _END.run(driver, size_bytes, sha256, ended.modified_ms, container, path, name).rowcount:
                        return None  # deleted meanwhile
                    if freed := self.contents.put(arriving, sha256):
                        afterwards.enter_context(freed)
            finally:
                self.contents.drop(arriving)
            self.remove_unnamed([name])
        for each in also:
            with suppress(AlreadyExists):
                self.name_again(container, [(each, container, path)])
        return ended

    def begin_block(
        self, container: str, path: str, block_id: str, size_bytes: int, *, offset: int | None = None
    ) -> IncomingBlock:
        """Begin to receive one block of a file; close it in any case. `block_id` is Base64, of at most 64 bytes.

        Blocks wait to be committed, for a day at least, also when this process ends. A block replaces one of its id.
        `offset` says where in the file it will be, which spares copying where blocks arrive out of order.
        """
        _check_container(container)
        return self._blocks.begin(container, check_new_path(path), block_id, size_bytes, offset)

    def list_blocks(self, container: str, path: str) -> list[tuple[str, int]]:
        """Return `(block_id, size_bytes)` of the blocks that wait to be committed, in the order of their arrival."""
        _check_container(container)
        with self.contents.our_errors():
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
        """Make a file of these blocks in this order, replacing what was there, and drop the file's other blocks.

        The same list again within a day, when its blocks are gone for that reason, gives the same file, from another
        process too. Raises NotFound for a block that isn't there; TransferBroken, dropping all blocks, for a `sha256`
        that is not the content's.
        """
        _check_container(container)
        path = check_new_path(path)
        request_id = hashlib.sha256(json.dumps(["block list", container, path, *block_ids]).encode()).hexdigest()
        name = self.contents.new_name()
        with self.contents.our_errors(), self._blocks.committing(container, path):
            try:
                size_bytes, found = self._blocks.assemble(container, path, block_ids, name)
                if sha256 not in (None, found):
                    self._blocks.discard(container, path)
                _check_sha256(path, found, sha256)
                kind = content_type or _guess_type(path)
                record = FileRecord(path, size_bytes, found, kind, self.now_ms(), md5)
                self.record(container, [(name, record)], request_id)
            except NotFound:  # its sender may not have heard the answer
                known, committed = self.find(container, path), self._committed(request_id)
                if known is None or known.sha256 != committed:
                    raise
                return known
            finally:
                self.contents.drop(name)
            self._blocks.discard(container, path)
            return record

    def _committed(self, request_id: str) -> str | None:
        """The hash of what a block list became less than a day ago."""
        with self._database.read() as connection:
            answer = recall(driver_connection(connection), request_id)
        return None if answer is None else answer.decode()

    def discard_blocks(self, container: str, path: str) -> None:
        """Drop the blocks that wait to be committed."""
        _check_container(container)
        with self.contents.our_errors():
            self._blocks.discard(container, check_path(path))

    def open(self, container: str, path: str) -> BinaryIO:
        return self.open_record(container, path)[1]

    def open_record(self, container: str, path: str) -> tuple[FileRecord, BinaryIO]:
        """Open a file for reading, with the record of just this content.

        Raises NotFound; StorageFailed where it can't be read or has another size than what was stored, and where it
        turns out, when all of it is read, to be something else.
        """
        record, content = self._open_content(container, path)

        def damaged() -> Exception:
            return self._content_failed(record, "is not what was stored (SHA-256 differs)")

        def failed(error: OSError) -> Exception:
            return self._cant_be_read(record, error)

        try:
            size_bytes = os.fstat(content.fileno()).st_size
            if size_bytes < record.size_bytes or not (record.is_growing or size_bytes == record.size_bytes):
                raise damaged()
            checked = CheckedContent(content, record.sha256, record.size_bytes, damaged, failed)
            return record, io.BufferedReader(checked)
        except BaseException:
            content.close()
            raise

    def download(self, container: str, path: str, target: Path, *, progress: _Progress = None) -> None:
        with self.open(container, path) as source, arriving(target) as temporary, temporary.open("wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                sink.write(chunk)
                if progress is not None:
                    progress(len(chunk))

    def find(self, container: str, path: str) -> FileRecord | None:
        _check_container(container)
        with self._database.read() as connection:
            row = connection.execute(_select_files(container).where(files.c.path == check_path(path))).first()
            return None if row is None else FileRecord(*row)

    def list_folder(self, container: str, folder: str = "") -> list[FileListing]:
        """Return the folder's immediate children by name; empty for a folder that doesn't exist."""
        files_under = ((record.path, record.size_bytes) for record in self.list_all(container, folder))
        return children_of(check_path(folder) if folder else "", files_under)

    def list_some(self, container: str, folder: str = "", *, after: str = "", max_results: int) -> Page[FileListing]:
        """Return immediate children of a folder by path: those that follow on `after`, a page's `next_token`.

        It reads no more than it returns, but for the sizes of folders: a folder may have a hundred thousand files.
        """
        _check_container(container)
        prefix = f"{check_path(folder)}/" if folder else ""
        found: list[FileListing] = []
        with self._database.read() as connection:
            while len(found) <= max_results:
                statement = _select_files(container).order_by(files.c.path).limit(max_results + 1 - len(found))
                if prefix:
                    statement = statement.where(files.c.path > prefix, files.c.path < _after_folder(prefix))
                if after:
                    is_after = files.c.path >= after[1:] if after[0] == "=" else files.c.path > after[1:]
                    statement = statement.where(is_after)
                rows = connection.execute(statement).all()
                if not rows:
                    return Page(found, None)
                for row in rows:
                    name, is_folder, _ = row.path[len(prefix) :].partition("/")
                    if not is_folder:
                        found.append(FileListing(row.path, False, row.size_bytes))
                        after = f">{row.path}"
                        continue
                    path = prefix + name
                    first, end = f"{path}/", _after_folder(f"{path}/")
                    size = select(func.sum(files.c.size_bytes)).where(
                        files.c.container == container, files.c.path >= first, files.c.path < end
                    )
                    size_bytes = connection.execute(size).scalar()
                    found.append(FileListing(path, True, int(size_bytes or 0)))
                    after = f"={end}"
                    break
        del found[max_results:]
        last = found[-1]
        return Page(found, f"={_after_folder(f'{last.path}/')}" if last.is_folder else f">{last.path}")

    def list_all(
        self, container: str, folder: str = "", *, after: str = "", max_results: int | None = None
    ) -> list[FileRecord]:
        _check_container(container)
        statement = _select_files(container).where(files.c.path > after).order_by(files.c.path).limit(max_results)
        if folder and (folder := check_path(folder)):
            statement = statement.where(_at_or_under(folder))
        with self._database.read() as connection:
            records = [FileRecord(*row) for row in connection.execute(statement)]
        for record in records:
            check_path(record.path)  # the database may come from anywhere, and callers make local paths of these
        return records

    def count(self, container: str, folder: str = "") -> int:
        """How many files are in a folder and in those below."""
        _check_container(container)
        statement = select(func.count()).where(files.c.container == container)
        if folder and (folder := check_path(folder)):
            statement = statement.where(files.c.path > f"{folder}/", files.c.path < _after_folder(f"{folder}/"))
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def name_again(self, container: str, items: Sequence[tuple[str, str, str]]) -> None:
        """Give files that are there a name more each: `(path, their container, their path)`. Raises NotFound."""
        _check_container(container)
        now = self._database.now_ms()
        with self._database.write() as connection:
            for path, source, source_path in items:
                record = self._get(source, source_path)
                if record.is_growing:
                    raise InvalidState(f"{source_path} is still written to. Wait until the run has ended")
                replaced = _name_content(connection, container, replace(record, path=path, modified_ms=now))
                if replaced:
                    raise AlreadyExists("file", path)

    def delete(self, container: str, path: str = "") -> int:
        """Delete a file, or a folder with all that is under it, and return how many files went."""
        _check_container(container)
        chosen = files.c.container == container
        if path and (path := check_path(path)):
            chosen = and_(chosen, _at_or_under(path))
        with self.contents.our_errors():
            with self._database.write_alone() as connection:
                hashes = list(connection.execute(select(files.c.sha256).where(chosen)).scalars())
                for sha256 in hashes:
                    self.contents.has(sha256)  # refuses a link before anything is gone
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
                    freed += self.contents.delete(sha256)
        return freed

    def sweep(self) -> int:
        """Remove what killed processes left: contents without a name, and uploads abandoned a day ago or longer.

        Returns the bytes given back.
        """
        freed = sum(self.remove_unnamed(hashes) for hashes in self.contents.list_contents())
        return freed + self.contents.sweep_incoming()

    def _get(self, container: str, path: str) -> FileRecord:
        record = self.find(container, path)
        if record is None:
            raise NotFound("file", path, f"{container} has no such file")
        return record

    def record(
        self, container: str, received: Sequence[tuple[str, FileRecord]], request_id: str | None = None
    ) -> list[FileRecord]:
        """Make received contents, by their names, those of files, all in one transaction; return the records.

        With a `request_id` comes a note of what hash the last one has.
        """
        records = [record for _, record in received]
        replaced: list[str] = []
        with ExitStack() as afterwards, self._database.write_alone() as connection:
            for name, record in received:
                replaced += _name_content(connection, container, record)
                if freed := self.contents.put(name, record.sha256):
                    afterwards.enter_context(freed)
                if request_id is not None:
                    answer = record.sha256.encode()
                    remember(driver_connection(connection), request_id, answer, record.modified_ms)
        unnamed = set(replaced) - {record.sha256 for record in records}
        if unnamed:
            self.remove_unnamed(list(unnamed))
        return records

    def _open_content(self, container: str, path: str) -> tuple[FileRecord, BinaryIO]:
        record = self._get(container, path)
        while True:
            try:
                return record, self.contents.open(record.sha256)
            except FileNotFoundError as error:
                found, record = record, self._get(container, path)
                if record == found and not self.contents.has(found.sha256):
                    raise self._content_failed(record, "is missing from files/") from error
                # else the file was overwritten since its record was read, and its old content removed
            except OSError as error:
                raise self._cant_be_read(record, error) from error
            except PathUnsafe as error:  # somebody put a link, or what is no plain file, in its place
                problem = f"can't be opened: its {error.field} {error.rule}"
                raise self._content_failed(record, problem) from error

    def _cant_be_read(self, record: FileRecord, error: OSError) -> StorageFailed:
        if isinstance(error, PermissionError):
            return self._content_failed(record, "may not be read by this user", _LET_READ)
        return self._content_failed(record, f"can't be read ({error.strerror})", "Check the disk it is on")

    def _content_failed(self, record: FileRecord, problem: str, way_out: str = _RESTORE_FILES) -> StorageFailed:
        content = f"the content of {record.path!r} ({record.sha256})"
        return StorageFailed(str(self._database.folder), f"{content} {problem}", way_out)


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


def _select_files(container: str) -> Select[Any]:
    column = files.c
    return select(
        column.path, column.size_bytes, column.sha256, column.content_type, column.modified_ms, column.md5
    ).where(column.container == container)


def _after_folder(prefix: str) -> str:
    """The first text after all paths with this prefix, which ends with a slash."""
    return f"{prefix[:-1]}0"


def _at_or_under(path: str) -> ColumnElement[bool]:
    # One range, so that the primary key serves it; "0" follows "/". In it are names too that only begin so.
    column = files.c.path
    return and_(column >= path, column < f"{path}0", or_(column == path, column > f"{path}/"))


def _name_content(connection: Connection, container: str, record: FileRecord) -> list[str]:
    """Give a file's name its content; return the hash of the content it had. A name is a file or a folder, not both."""
    driver = driver_connection(connection)
    lock_workspace(driver)
    parts = record.path.split("/")
    folders = key_list(["/".join(parts[:depth]) for depth in range(1, len(parts))])
    clash = _SELECT_CLASH.run(driver, container, folders, container, f"{record.path}/", f"{record.path}0").fetchone()
    if clash is not None:
        raise file_and_folder(record.path, clash[0])
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
    """A folder on the way that is a file, or a file below: two selects, as SQLite reads the whole container for OR."""
    column = files.c
    in_container = select(column.path).where(column.container == bindparam("container"))
    on_the_way = in_container.where(column.path.in_(texts_in("folders")))
    below = in_container.where(column.path > bindparam("first"), column.path < bindparam("last"))
    return DriverStatement(union_all(on_the_way, below), "container", "folders", "container", "first", "last")


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
_IS_GROWING = (
    files.c.container == bindparam("in_container"),
    files.c.path == bindparam("at_path"),
    files.c.sha256 == bindparam("name"),
)
_SHOW = DriverStatement(
    update(files).where(*_IS_GROWING).values(size_bytes=bindparam("size"), modified_ms=bindparam("now")),
    "size", "now", "in_container", "at_path", "name",
)  # fmt: skip
_END = DriverStatement(
    update(files)
    .where(*_IS_GROWING)
    .values(size_bytes=bindparam("size"), sha256=bindparam("hash"), modified_ms=bindparam("now")),
    "size", "hash", "now", "in_container", "at_path", "name",
)  # fmt: skip
