"""What may be wrong with an installation or an embedded workspace, and what to do about it."""

import os
import platform
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from mlflow_amlstore import __version__
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import CURRENT_REVISION
from mlflow_amlstore.records.sql.files import FILES_FOLDER
from mlflow_amlstore.records.tables import files
from mlflow_amlstore.workspace.config_json import config_of, find_config
from mlflow_amlstore.workspace.credentials import find_credential
from mlflow_amlstore.workspace.opening import open_folder
from mlflow_amlstore.workspace.patience import Patience
from mlflow_amlstore.workspace.service_call import ServiceCall
from mlflow_amlstore.workspace.service_url import service_url_of

_PLUGIN_GROUPS = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository")
_OUR_PACKAGE = "mlflow-amlstore"
_OUR_SCHEMES = ("amlstore", "azureml", "azureml+http")
# File systems whose locks or memory maps don't hold between machines, which SQLite's WAL needs (sqlite.org/wal.html).
_NETWORK_FILE_SYSTEMS = (
    "9p afs afpfs beegfs ceph cifs davfs fuse.glusterfs fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 smb2 "
    "smb3 smbfs webdav"
).split()
_SERVICE_PATIENCE_S = 5.0
_LITTLE_SPACE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `remedy` is empty where all is well."""

    check: str
    is_ok: bool
    detail: str
    remedy: str = ""


def examine_installation() -> Iterator[Finding]:
    """Versions, and which package owns each URI scheme that plugins claim."""
    yield Finding("Python", True, platform.python_version())
    yield Finding("mlflow-amlstore", True, __version__)
    yield Finding("MLflow", True, _mlflow_version())
    yield Finding("SQLite", True, sqlite3.sqlite_version)
    for group in _PLUGIN_GROUPS:
        owners: dict[str, list[str]] = defaultdict(list)
        for entry_point in metadata.entry_points(group=group):
            owners[entry_point.name].append(entry_point.dist.name if entry_point.dist else "unknown")
        for scheme in sorted({*owners, *_OUR_SCHEMES}):
            yield _scheme_finding(group, scheme, owners[scheme])


def _scheme_finding(group: str, scheme: str, packages: list[str]) -> Finding:
    check = f"{scheme}:// in {group}"
    if scheme in _OUR_SCHEMES and not packages:
        return Finding(check, False, "nobody", f"Install again: `pip install --force-reinstall {_OUR_PACKAGE}`")
    detail = ", ".join(packages)
    if len(set(packages)) > 1:
        return Finding(check, False, detail, "MLflow takes one of these, no matter which; uninstall the others")
    if scheme in _OUR_SCHEMES and packages[0] != _OUR_PACKAGE:
        return Finding(check, False, detail, f"Uninstall {packages[0]}, which hides {_OUR_PACKAGE}")
    return Finding(check, True, detail)


def _mlflow_version() -> str:
    for package in ("mlflow", "mlflow-skinny"):
        try:
            return f"{metadata.version(package)} ({package})"
        except metadata.PackageNotFoundError:
            continue
    return "not found"


def examine_workspace(start: Path | None) -> Iterator[Finding]:
    """Where the workspace is, and whether it can be read and written there."""
    try:
        config = find_config() if start is None else config_of(start)
    except AmlStoreError as error:
        yield Finding("config.json", False, str(error).splitlines()[0], "Run `amlstore init`, or give --workspace DIR")
        return
    yield Finding("config.json", True, str(config.file))
    if config.service_url is not None:
        yield from _examine_service(config.service_url)
        return
    if config.folder is None:
        yield Finding("workspace", True, "not embedded; nothing more to check on this machine")
        return
    folder = config.folder.resolve()
    found_revision = _found_revision(folder)
    try:
        opened = open_folder(folder)
        experiments = len(opened.records.experiments.search(max_results=50_000).items)
    except AmlStoreError as error:
        yield Finding("readable", False, str(error).splitlines()[0], str(error))
        return
    yield Finding("readable", True, f"{folder}, {experiments} active experiments")
    yield Finding("schema", True, f"{found_revision or 'none'}, current is {CURRENT_REVISION}")
    yield _integrity(folder)
    yield _contents(folder)
    yield _writable(folder)
    yield _disk_kind(folder)
    yield _disk_space(folder)


def _examine_service(service_url: str) -> Iterator[Finding]:
    """Whether a service answers, and whether this machine has a key for it. The key is not sent."""
    try:
        patience = Patience(f"The workspace service {service_url}", _SERVICE_PATIENCE_S)
        found = ServiceCall("GET", service_url_of(service_url), "/discovery", patience=patience).send(None)
        yield Finding("service", True, f"{service_url} answers: the workspace {found['workspaceName']}")
    except AmlStoreError as error:
        yield Finding("service", False, str(error), "Check service_url, and that the service runs")
    try:
        find_credential(service_url)
        yield Finding("credential", True, "a key is found")
    except AmlStoreError as error:
        remedy = f"Log in with `amlstore login {service_url}`, or set AMLSTORE_KEY"
        yield Finding("credential", False, str(error), remedy)


def _found_revision(folder: Path) -> str | None:
    with closing(Database(folder)) as database:
        try:
            with database.read() as connection:
                return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        except (AmlStoreError, DBAPIError):
            return None  # what is wrong is said when it is opened


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
        for place in (folder, folder / FILES_FOLDER, folder / FILES_FOLDER / "incoming"):
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
