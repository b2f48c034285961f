"""Artifact URIs of an embedded workspace: `ROOT/CONTAINER/PATH`, with ROOT as `tracking_uri.embedded_root` writes it.

They are made when a record is read and taken apart when files are asked for; what a record keeps is `workspace:/…`,
which a moved folder doesn't make untrue. What follows the root is a plain path, not percent-encoded: MLflow appends
names as they are (`mlflow.utils.uri.append_to_uri_path`).
"""

from pathlib import Path
from urllib.parse import unquote

from mlflow_amlstore.errors import TrackingUriInvalid, WorkspaceNotFound
from mlflow_amlstore.records.locations import DATABASE_NAME, WORKSPACE_SCHEME, is_location
from mlflow_amlstore.workspace.tracking_uri import EMBEDDED

_PREFIX = f"{EMBEDDED}://"


def artifact_uri(root_uri: str, container: str) -> str:
    """The URI of a container's files."""
    return f"{root_uri}/{container}"


def split_artifact_uri(uri: str) -> tuple[Path, str]:
    """Split an artifact URI into the workspace's folder and the location in it ("" for the workspace itself).

    A workspace may lie below another one: it is the first on the way after which a location begins, or the URI ends.
    Raises TrackingUriInvalid, WorkspaceNotFound.
    """
    path = _path(uri)
    if path is None:
        raise TrackingUriInvalid(uri, f"must start with {_PREFIX}/")
    parts = path.split("/")
    found = None
    for end in range(2, len(parts) + 1):
        folder = Path(unquote("/".join(parts[:end])))
        if "\0" not in str(folder) and (folder / DATABASE_NAME).is_file():
            found = folder, "/".join(parts[end:])
            if is_location(found[1]):
                return found
    if found is None:
        raise WorkspaceNotFound(unquote(path))
    return found


def _path(uri: str) -> str | None:
    """What follows the scheme. `amlstore:/folder` is `amlstore:///folder`, because `urllib` drops an empty authority
    when MLflow appends to a path (`mlflow.utils.uri.append_to_uri_path`)."""
    if uri.startswith(f"{_PREFIX}/"):
        return uri.removeprefix(_PREFIX)
    if uri.startswith(f"{EMBEDDED}:/") and not uri.startswith(_PREFIX):
        return uri.removeprefix(f"{EMBEDDED}:")
    return None


def to_stored_source(root_uri: str, uri: str) -> str:
    """A model source as a record keeps it: relative where it is in this workspace, else as it is."""
    path, root = _path(uri), f"{_path(root_uri)}/"
    return WORKSPACE_SCHEME + path.removeprefix(root) if path is not None and path.startswith(root) else uri


def from_stored_source(root_uri: str, source: str) -> str:
    """The reverse of `to_stored_source`."""
    return f"{root_uri}/{source.removeprefix(WORKSPACE_SCHEME)}" if source.startswith(WORKSPACE_SCHEME) else source


def to_stored_location(root_uri: str, uri: str) -> str:
    """A run's or logged model's artifact URI as a record keeps it: no root where it is in this workspace."""
    return uri.removeprefix(f"{root_uri}/")
