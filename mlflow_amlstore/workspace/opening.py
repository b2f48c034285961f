"""Making and opening embedded workspaces; each is opened once in a process."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.errors import (
    ConfigInvalid,
    ExtraMissing,
    InvalidValue,
    NotSupported,
    StorageFailed,
    WorkspaceCorrupt,
    WorkspaceNotFound,
    storage_error,
)
from mlflow_amlstore.records.locations import DATABASE_NAME
from mlflow_amlstore.workspace import config_json, tracking_uri
from mlflow_amlstore.workspace.script_log import keep_script_log

if TYPE_CHECKING:
    from mlflow_amlstore.records.store import RecordStore


@dataclass(frozen=True)
class EmbeddedWorkspace:
    """An open workspace on this machine. `root_uri` is its tracking URI without a query."""

    folder: Path
    root_uri: str
    records: "RecordStore"
    issuer: tracking_uri.Issuer

    def close(self) -> None:
        """Release the workspace's connections; opening it again makes new ones."""
        with _lock:
            for key, known in list(_open.items()):
                if known is self:
                    del _open[key]
        self.records.close()


_lock = threading.Lock()
# By folder and by the database file's identity, so that a folder deleted and made anew is opened anew.
_open: dict[tuple[Path, int], EmbeddedWorkspace] = {}


def create_workspace(folder: Path, name: str | None = None) -> EmbeddedWorkspace:
    """Make an embedded workspace in `folder`, with its config.json, or open the one that is there.

    `name` defaults to the folder's. Raises ConfigInvalid where config.json there means another workspace.
    """
    folder = _resolved(folder)
    config_file = folder / config_json.FILE_NAME
    if config_file.exists():
        known = config_json.read_config(config_file)
        if known.folder is None or known.folder.resolve() != folder:
            raise ConfigInvalid(str(config_file), "it means another workspace; choose an empty folder for the new one")
    with needs_embedded():
        from mlflow_amlstore.records.folder import create_records
    _check_no_remains(folder)
    create_records(folder)
    if not config_file.exists():
        try:
            config_json.write_config(config_file, {"workspace_name": name or folder.name, "path": "."})
        except OSError as error:
            raise storage_error(folder, error) from None
    return open_folder(folder)


def open_workspace(uri: str) -> EmbeddedWorkspace:
    """Open the workspace that a tracking URI names. An `expires` gone by doesn't matter: the folder is the credential.

    Raises TrackingUriInvalid, WorkspaceNotFound, SchemaTooNew, WorkspaceCorrupt.
    """
    parsed = tracking_uri.parse(uri)
    if parsed.scheme != tracking_uri.EMBEDDED:
        raise NotSupported(f"The scheme {parsed.scheme}://", "Use an embedded workspace's amlstore:/// URI")
    return open_folder(parsed.folder)


def open_folder(folder: Path, config_file: Path | None = None) -> EmbeddedWorkspace:
    """Open the embedded workspace in a folder, which a `config_file` may name, bringing its schema up to date.

    Raises WorkspaceNotFound, SchemaTooNew, WorkspaceCorrupt, StorageFailed, ExtraMissing.
    """
    folder = _resolved(folder)
    try:
        key = (folder, (folder / DATABASE_NAME).stat().st_ino)
    except (FileNotFoundError, NotADirectoryError):
        _check_no_remains(folder)
        raise WorkspaceNotFound(str(folder), str(config_file or "")) from None
    except OSError as error:
        raise StorageFailed(str(folder), str(error)) from None
    with _lock:
        known = _open.get(key)
        # A file that was made anew may have the number of the one that is gone.
        if known is None or not known.records.is_in_place():
            keep_script_log()
            with needs_embedded():
                from mlflow_amlstore.records.folder import open_records
            root_uri = tracking_uri.embedded_root(folder)
            known = EmbeddedWorkspace(folder, root_uri, open_records(folder), tracking_uri.Issuer(root_uri))
            _open[key] = known
    return known


def _check_no_remains(folder: Path) -> None:
    """Raise WorkspaceCorrupt where a workspace's records.db is gone: a new one would give its files to `amlstore gc`,
    and its journal, which may have the last writes, to nobody."""
    if (folder / DATABASE_NAME).exists():
        return
    journal = folder / f"{DATABASE_NAME}-wal"
    remains = [journal.name] if journal.exists() and journal.stat().st_size else []
    remains += ["files/"] if any((folder / "files").glob("[0-9a-f][0-9a-f]/*")) else []
    if remains:
        what = " and ".join(remains)
        problem = f"{DATABASE_NAME} is missing, though there is {what} of a workspace"
        way_out = f"Restore {DATABASE_NAME} from a copy. For a new workspace choose another folder, or remove {what}"
        raise WorkspaceCorrupt(str(folder), problem, way_out)


def _resolved(folder: Path) -> Path:
    """The folder as an absolute path without links. Raises InvalidValue for what can't be a path, StorageFailed."""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()
        return folder.resolve()
    except ValueError as error:
        raise InvalidValue("workspace folder", str(folder), f"can't be a path ({error})") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise StorageFailed(str(folder), str(error)) from None
        raise InvalidValue("workspace folder", str(folder), f"can't be a path here ({error.strerror})") from None


@contextmanager
def needs_embedded() -> Iterator[None]:
    """Imports inside it are of what a service's client does without. Raises ExtraMissing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing("An embedded workspace", error.name or "sqlalchemy", "embedded") from None


def _new_locks_in_child() -> None:
    global _lock  # another thread of the parent may have held it at the fork
    _lock = threading.Lock()
    for opened in _open.values():
        opened.issuer.start_anew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_locks_in_child)
