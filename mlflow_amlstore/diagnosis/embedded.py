"""What may be wrong with an embedded workspace: its database, its contents, the disk that it is on."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from mlflow_amlstore.diagnosis.finding import Finding
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.contents import FILES_FOLDER, INCOMING, ContentFolder
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import CURRENT_REVISION, revision_of
from mlflow_amlstore.records.tables import files, metadata
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
        return Finding("database", False, problem, "Restore records.db from a copy, or `sqlite3 records.db .recover`")
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
    with closing(Database(folder)) as database, database.read() as connection:
        named = dict(connection.execute(select(files.c.sha256, func.min(files.c.path)).group_by(files.c.sha256)).all())
    contents = ContentFolder(folder)
    there = {sha256: _has(contents, sha256) for sha256 in named}
    missing = [sha256 for sha256 in named if not there[sha256]]
    damaged = [sha256 for sha256 in named if deep and there[sha256] and not _is_whole(contents, sha256)]
    for what, hashes in (("missing", missing), ("not what was stored", damaged)):
        if hashes:
            first = f"{named[hashes[0]]} ({hashes[0][:12]}…)"
            detail = f"{len(hashes)} of {len(named)} contents are {what}; the first is {first}"
            return Finding("files", False, detail, "Restore files/ from a copy")
    how = "each is what was stored" if deep else "all there; --deep reads them, too"
    return Finding("files", True, f"{len(named)} contents, {how}")


def _has(contents: ContentFolder, sha256: str) -> bool:
    try:
        return contents.has(sha256)
    except AmlStoreError:  # no hash, or a link
        return False


def _is_whole(contents: ContentFolder, sha256: str) -> bool:
    try:
        with contents.open(sha256) as content:
            return _sha256_of(content) == sha256
    except (AmlStoreError, OSError):
        return False


def _sha256_of(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _writable(folder: Path) -> Finding:
    try:
        with closing(Database(folder, lock_timeout_s=5)) as database, database.write():
            pass
        for place in (folder, folder / FILES_FOLDER, folder / FILES_FOLDER / INCOMING):
            if place.exists():
                probe = place / f".doctor-{os.getpid()}"
                probe.touch()
                probe.unlink()
    except (AmlStoreError, OSError) as error:
        return Finding("writable", False, str(error), "Give this user write permission there; till then it can be read")
    return Finding("writable", True, "yes")


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
