"""What may be wrong with an embedded workspace: its database, its contents, the disk that it is on."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, func, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from mlflow_amlstore.diagnosis.finding import Finding
from mlflow_amlstore.errors import AmlStoreError, WorkspaceCorrupt
from mlflow_amlstore.records.contents import FILES_FOLDER, INCOMING, ContentFolder, is_growing
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import CURRENT_REVISION, revision_of
from mlflow_amlstore.records.tables import files, metadata, workspace
from mlflow_amlstore.workspace.opening import open_folder

# File systems whose locks or memory maps don't hold between machines, which SQLite's WAL needs (sqlite.org/wal.html).
_NETWORK_FILE_SYSTEMS = (
    "9p afs afpfs beegfs ceph cifs davfs fuse.glusterfs fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 smb2 "
    "smb3 smbfs webdav"
).split()
_CHUNK_BYTES = 1024 * 1024
_LITTLE_SPACE_BYTES = 256 * 1024 * 1024


def examine_folder(folder: Path, *, deep: bool = False) -> Iterator[Finding]:
    """Whether a folder's workspace can be read and written, and has what it says.

    With `deep` each content is read and each index compared with its table, which takes as long as the disk needs.
    """
    found_revision = _found_revision(folder)
    try:
        opened = open_folder(folder)
        experiments = len(opened.records.experiments.search(max_results=50_000).items)
    except AmlStoreError as error:
        yield Finding("readable", False, "it can't be opened", str(error))
        return
    yield Finding("readable", True, f"{folder}, {experiments} active experiments")
    yield Finding("schema", True, f"{found_revision or 'none'}, current is {CURRENT_REVISION}")
    yield _integrity(folder, deep)
    yield _contents(folder, deep)
    yield _writable(folder)
    yield _disk_kind(folder)
    yield _disk_space(folder)


def _found_revision(folder: Path) -> str | None:
    with closing(Database(folder)) as database, suppress(AmlStoreError, OSError):  # which is said when it is opened
        return revision_of(database)
    return None


def _integrity(folder: Path, deep: bool) -> Finding:
    with closing(Database(folder)) as database, database.read() as connection:
        try:
            problem = _missing_part(connection) or _damage(connection, deep)
        except (AmlStoreError, SQLAlchemyError) as error:  # what SQLite can't even look at
            problem = str(error).partition("\n")[0]
    if problem:
        return Finding("database", False, problem, WorkspaceCorrupt.WAY_OUT)
    return Finding("database", True, "intact, each index and key" if deep else "intact; --deep compares indexes, too")


def _missing_part(connection: Connection) -> str:
    """The first table, column or index that the schema has and the database doesn't."""
    found = inspect(connection)
    names = set(found.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in names:
            return f"the table {table.name} is missing"
        columns = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                return f"the column {table.name}.{column.name} is missing"
        indexes = {index["name"] for index in found.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in indexes:
                return f"the index {index.name} is missing"
    return ""


def _damage(connection: Connection, deep: bool) -> str:
    """What SQLite finds wrong with its file."""
    verdict = str(connection.exec_driver_sql(f"PRAGMA {'integrity_check' if deep else 'quick_check'}(1)").scalar())
    if verdict != "ok":
        return verdict
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first() if deep else None
    return "" if orphan is None else f"a row of {orphan[0]} belongs to one of {orphan[2]} that isn't there"


def _contents(folder: Path, deep: bool) -> Finding:
    named = select(files.c.sha256, func.min(files.c.path), func.min(files.c.size_bytes), func.max(files.c.size_bytes))
    try:
        with closing(Database(folder)) as database, database.read() as connection:
            rows = connection.execute(named.group_by(files.c.sha256)).all()
    except AmlStoreError as error:
        return Finding("files", False, "which there are can't be read", str(error))
    contents = ContentFolder(folder)
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for sha256, path, *sizes in rows:
        problem = _problem(contents, sha256, sizes, deep)
        if problem:
            counts[problem] += 1
            first.setdefault(problem, f"{path} ({sha256[:12]}…)")
    for problem, way_out in _FILE_PROBLEMS.items():
        if counts[problem]:
            detail = f"{counts[problem]} of {len(rows)} contents {problem}; the first is {first[problem]}"
            return Finding("files", False, detail, way_out)
    how = "each is what was stored" if deep else "all there; --deep reads them, too"
    return Finding("files", True, f"{len(rows)} contents, {how}")


_MISSING, _OTHER, _UNREADABLE = "are missing", "are not what was stored", "can't be read by this user"
_FILE_PROBLEMS = {
    _MISSING: "Restore files/ from a copy",
    _OTHER: "Restore files/ from a copy",
    _UNREADABLE: "Give this user permission to read files/ and what is in it",
}


def _problem(contents: ContentFolder, sha256: str, sizes: Sequence[int], deep: bool) -> str:
    """What is wrong with a content that files of these sizes have; "" for nothing."""
    try:
        with contents.open(sha256) as content:
            size_bytes = os.fstat(content.fileno()).st_size
            if is_growing(sha256):
                return "" if max(sizes) <= size_bytes else _OTHER
            is_whole = all(size == size_bytes for size in sizes) and (not deep or _sha256_of(content) == sha256)
            return "" if is_whole else _OTHER
    except PermissionError:
        return _UNREADABLE
    except FileNotFoundError:
        return _MISSING
    except (AmlStoreError, OSError):  # no hash, a link, a disk that fails
        return _OTHER


def _sha256_of(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _writable(folder: Path) -> Finding:
    try:
        with closing(Database(folder, lock_timeout_s=5)) as database:
            _write_nothing(database)
        for place in (folder, folder / FILES_FOLDER, folder / FILES_FOLDER / INCOMING):
            if place.exists():
                probe = place / f".doctor-{os.getpid()}"
                probe.touch()
                probe.unlink()
    except (AmlStoreError, OSError) as error:
        return Finding("writable", False, str(error), "Give this user write permission there; till then it can be read")
    return Finding("writable", True, "yes")


def _write_nothing(database: Database) -> None:
    """Change a row and take it back. A transaction alone would not look whether the file takes writes."""
    with suppress(_TakenBack), database.write() as connection:
        connection.execute(update(workspace).values(created_ms=workspace.c.created_ms))
        raise _TakenBack


class _TakenBack(Exception):
    pass


def _disk_kind(folder: Path) -> Finding:
    kind = _file_system(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        return Finding(
            "disk",
            False,
            f"{kind}, a network share",
            "Several machines must not write at once: keep the workspace on a local disk and copy the folder when done",
        )
    return Finding("disk", True, kind or "unknown kind")


def _file_system(folder: Path) -> str | None:
    """The type of the mount that a folder is on, where the system tells (Linux)."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return None
    best: tuple[str, str | None] = ("", None)
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        mount_point = mount_point.replace("\\040", " ")
        if folder.is_relative_to(mount_point) and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1]


def _disk_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < _LITTLE_SPACE_BYTES:
        return Finding("space", False, detail, "Free some; `amlstore gc` deletes for good what is deleted")
    return Finding("space", True, detail)
