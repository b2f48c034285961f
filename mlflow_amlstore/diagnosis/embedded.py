"""What may be wrong with an embedded workspace: its database, its contents, the disk that it is on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import select

from mlflow_amlstore.diagnosis.finding import Finding
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.contents import FILES_FOLDER, INCOMING
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import CURRENT_REVISION, revision_of
from mlflow_amlstore.records.tables import files
from mlflow_amlstore.workspace.opening import open_folder

# File systems whose locks or memory maps don't hold between machines, which SQLite's WAL needs (sqlite.org/wal.html).
_NETWORK_FILE_SYSTEMS = (
    "9p afs afpfs beegfs ceph cifs davfs fuse.glusterfs fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 smb2 "
    "smb3 smbfs webdav"
).split()
_LITTLE_SPACE_BYTES = 256 * 1024 * 1024


def examine_folder(folder: Path) -> Iterator[Finding]:
    """Whether a folder's workspace can be read and written, and has what it says."""
    found_revision = _found_revision(folder)
    try:
        opened = open_folder(folder)
        experiments = len(opened.records.experiments.search(max_results=50_000).items)
    except AmlStoreError as error:
        yield Finding("readable", False, "it can't be opened", str(error))
        return
    yield Finding("readable", True, f"{folder}, {experiments} active experiments")
    yield Finding("schema", True, f"{found_revision or 'none'}, current is {CURRENT_REVISION}")
    yield _integrity(folder)
    yield _contents(folder)
    yield _writable(folder)
    yield _disk_kind(folder)
    yield _disk_space(folder)


def _found_revision(folder: Path) -> str | None:
    with closing(Database(folder)) as database, suppress(AmlStoreError, OSError):  # which is said when it is opened
        return revision_of(database)
    return None


def _integrity(folder: Path) -> Finding:
    with closing(Database(folder)) as database, database.read() as connection:
        verdict = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    if verdict == "ok":
        return Finding("database", True, "intact")
    return Finding("database", False, verdict, "Restore records.db from a copy, or `sqlite3 records.db .recover`")


def _contents(folder: Path) -> Finding:
    with closing(Database(folder)) as database, database.read() as connection:
        named = set(connection.execute(select(files.c.sha256)).scalars())
    missing = sum(not (folder / FILES_FOLDER / sha256[:2] / sha256).is_file() for sha256 in named)
    if missing:
        return Finding("files", False, f"{missing} of {len(named)} contents are missing", "Restore files/ from a copy")
    return Finding("files", True, f"{len(named)} contents, all there")


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
