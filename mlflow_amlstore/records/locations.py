"""Where files are, without saying where the workspace is: containers, and the URIs that records may keep.

A *container* holds the files of one run, one logged model, one snapshot, or one upload: files that a client sends to be
registered as a model, without a run. Its name is the part of an artifact URI after the workspace's root, for runs and
logged models in MLflow's own layout. A model source or artifact location in this workspace is kept as
`workspace:/CONTAINER/PATH`, so that a moved folder still means itself. This module is the one confinement check: every
path, source and location that comes from outside passes here before anything is read or written.
"""

import os
import posixpath
import re
from urllib.parse import unquote, urlsplit

from mlflow_amlstore.errors import PathUnsafe

WORKSPACE_SCHEME = "workspace:/"
DATABASE_NAME = "records.db"
"""The file of an embedded workspace's folder that makes it one."""

_LOGGED_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_DRIVE = re.compile(r"[A-Za-z]:")  # `C:secret` too: it counts from the drive's current folder
_HAS_DRIVES = os.name == "nt"  # elsewhere `T:0.5` is a name as any other
_FILE_URI = re.compile(r"file:", re.IGNORECASE)
# `..;x`, `..?x` and `..#x` are `..` to some URI readers, a decoded backslash is a separator to some systems.
_CLIMBS = re.compile(r"(?:.*[/\\])?\.\.(?:[/\\;?#\0].*)?", re.DOTALL)
_MAX_SEGMENT_BYTES = 255  # of a file's name on every common file system
_RUN = re.compile(r"(?P<experiment>\d+)/(?P<run>[A-Za-z0-9][\w\-]*)/artifacts(?:/(?P<path>.*))?", re.DOTALL)
_LOGGED_MODEL = re.compile(r"(?P<experiment>\d+)/models/(?P<model>m-[\w\-]+)/artifacts(?:/(?P<path>.*))?", re.DOTALL)
_UPLOAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,99}")
_UPLOAD = re.compile(rf"uploads/(?P<upload>{_UPLOAD_NAME.pattern})/artifacts(?:/(?P<path>.*))?", re.DOTALL)
_SNAPSHOT = re.compile(rf"snapshots/(?P<snapshot>{_UPLOAD_NAME.pattern})/artifacts(?:/(?P<path>.*))?", re.DOTALL)
# Schemes under which a URI means a file of the machine that reads it, or any URL that somebody chose.
_REFUSED_SCHEMES = {"", "file", "http", "https", "ftp", "data"}
_WORKSPACE_SCHEMES = {"amlstore", "azureml", "azureml+http"}


def run_container(experiment_id: str, run_id: str) -> str:
    """The container of a run's files."""
    return f"{experiment_id}/{run_id}/artifacts"


def logged_model_container(experiment_id: str, model_id: str) -> str:
    """The container of a logged model's files."""
    return f"{experiment_id}/models/{model_id}/artifacts"


def upload_container(name: str) -> str:
    """The container of an upload, whose name the client chose. Raises PathUnsafe for one that can't be a name."""
    if not _UPLOAD_NAME.fullmatch(name):
        raise PathUnsafe("upload", name, "must be letters, digits, '-' and '_', at most 100, a letter or digit first")
    return f"uploads/{name}/artifacts"


def snapshot_container(snapshot_id: str) -> str:
    """The container of a snapshot. Raises PathUnsafe for what can't be an id."""
    if not _UPLOAD_NAME.fullmatch(snapshot_id):
        raise PathUnsafe("snapshot", snapshot_id, "must be letters, digits, '-' and '_', a letter or digit first")
    return f"snapshots/{snapshot_id}/artifacts"


def upload_of(location: str) -> str | None:
    """The name of the upload whose container this is, or that the location is in; None for any other."""
    match = _UPLOAD.fullmatch(location)
    return None if match is None else match["upload"]


def logged_model_of(location: str) -> str | None:
    """The logged model whose container this is, or that the location is in; None for any other."""
    match = _LOGGED_MODEL.fullmatch(location)
    return None if match is None else match["model"]


def is_in_snapshot(location: str) -> bool:
    """Whether this is the container of a snapshot, or a location in it."""
    return _SNAPSHOT.fullmatch(location) is not None


def container_of(experiment_id: str, run_or_model_id: str) -> str:
    """The container of what stands in a run's place: a run, or a logged model by its id's form."""
    if _LOGGED_MODEL_ID.fullmatch(run_or_model_id):
        return logged_model_container(experiment_id, run_or_model_id)
    return run_container(experiment_id, run_or_model_id)


def is_location(location: str) -> bool:
    """Whether this is `CONTAINER[/PATH]`, or empty: the workspace itself."""
    return not location or _match(location) is not None


def split_location(location: str) -> tuple[str, str]:
    """Split `CONTAINER[/PATH]` into the container and the checked path ("" for the whole container).

    Raises PathUnsafe where the location names no container or its path leaves it.
    """
    location = location.strip("/")
    match = _match(location)
    if match is None:
        raise PathUnsafe(
            "artifact location",
            location,
            "must be EXPERIMENT/RUN/artifacts/…, EXPERIMENT/models/MODEL/artifacts/… or uploads/NAME/artifacts/…",
        )
    path = match["path"] or ""
    container = location[: match.start("path") - 1] if match["path"] is not None else location
    return container, check_path(path) if path else ""


def check_location(location: str) -> str:
    """Return `CONTAINER[/PATH]` with its path checked. Raises as `split_location`."""
    container, path = split_location(location)
    return f"{container}/{path}" if path else container


def check_uri_location(location: str) -> str:
    """Return what a URI of this workspace has after its root, in normal form: `CONTAINER[/PATH]`, or less where MLflow
    has split it. Raises as `split_location`."""
    if not location:
        return ""
    return check_uri_path(location) if _match(location) is None else check_location(location)


def _match(location: str) -> re.Match[str] | None:
    for pattern in (_LOGGED_MODEL, _RUN, _UPLOAD, _SNAPSHOT):
        if match := pattern.fullmatch(location):
            return match
    return None


def check_path(path: str, field: str = "artifact path") -> str:
    """Return a relative path in normal form, without a trailing slash; "" for `.`, where it begins.

    `folder/../name` is `name`. Raises PathUnsafe for a path that is empty, has a backslash or NUL, or is no valid
    Unicode; and for one that is absolute or a `file:` URI, has a drive letter where there are drives, or climbs out
    with `..`; percent-decoded, once or more often, it may have no `..` at all (CVE-2023-2780, CVE-2024-1560).
    """
    if path == "":
        raise PathUnsafe(field, path, "must not be empty")
    # Not of what it decodes to: MLflow's `log_image` puts a percent sign before a random hexadecimal number.
    if "\0" in path:
        raise PathUnsafe(field, path, "must not contain a NUL character")
    if "\\" in path:
        raise PathUnsafe(field, path, "must not contain a backslash; folders are separated by '/'")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise PathUnsafe(field, path, "must be valid Unicode; rename the file") from error
    normal = posixpath.normpath(path)
    _check_forms(field, path, normal)
    return "" if normal == "." else normal


def check_uri_path(path: str, field: str = "artifact path") -> str:
    """As `check_path`, for a path that others read, too: it has no `..` at all, which they may follow or not."""
    normal = check_path(path, field)
    _check_forms(field, path, path)
    return normal


def check_new_path(path: str) -> str:
    """Return `check_path(path)` for a file to be made: one that can be downloaded to any disk.

    Raises PathUnsafe, also where a name in the path is over 255 bytes.
    """
    given, path = path, check_path(path)
    if not path:
        raise PathUnsafe("artifact path", given, "must name a file or folder")
    for name in path.split("/"):
        if len(name.encode()) > _MAX_SEGMENT_BYTES:
            raise PathUnsafe("artifact path", path, f"no name in it may be over {_MAX_SEGMENT_BYTES} bytes long")
    return path


def _check_forms(field: str, path: str, form: str) -> None:
    """`form`, in which `path` is used, is relative and doesn't climb; nor is there `..` in what `path` decodes to."""
    decoded = path
    for _ in range(8):
        _check_one_form(field, path, form)
        form = unquote(decoded)
        if form == decoded:
            return
        decoded = form
    raise PathUnsafe(field, path, "is percent-encoded too many times over")


def _check_one_form(field: str, path: str, form: str) -> None:
    if form.startswith(("/", "\\")) or _FILE_URI.match(form) or (_HAS_DRIVES and _DRIVE.match(form)):
        raise PathUnsafe(field, path, "must be relative, not absolute")
    if _CLIMBS.fullmatch(form):
        raise PathUnsafe(field, path, "must not climb out with '..'")


def check_source(source: str) -> str:
    """Return a model source that may be kept: of this workspace, `runs:/`, `models:/`, or of a remote object store.

    Raises PathUnsafe for a local path, a `file:`, `http:` or another workspace's URI, and anything that climbs
    (CVE-2023-1177, -2356).
    """
    if source.startswith(WORKSPACE_SCHEME):
        return WORKSPACE_SCHEME + check_location(source.removeprefix(WORKSPACE_SCHEME))
    _check_remote("model source", source, "log the model to a run first and register `runs:/RUN_ID/PATH`")
    return source


def check_artifact_location(location: str) -> str:
    """Return an experiment's artifact location that may be kept: a URI of a remote object store.

    Raises PathUnsafe for anything that means files of this machine: an embedded workspace keeps those itself.
    """
    if location.partition(":")[0].lower() in ("runs", "models", "workspace"):
        raise PathUnsafe(
            "artifact location",
            location,
            "leave it out, and files are kept in the workspace; or give an object store's URI",
        )
    _check_remote("artifact location", location, "leave it out, and files are kept in the workspace")
    return location


def below(location: str, path: str) -> str:
    """The URI of a path below an object store's: before its query and fragment, where MLflow puts it."""
    end = re.search(r"[?#]|$", location)
    assert end is not None
    return f"{location[: end.start()].rstrip('/')}/{path}{location[end.start() :]}"


def _check_remote(field: str, uri: str, way_out: str) -> None:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise PathUnsafe(field, uri, f"is not a URI ({error}); {way_out}") from error
    if parts.scheme in _REFUSED_SCHEMES or len(parts.scheme) == 1:  # one letter: a Windows drive
        what = f"a URI that starts with {parts.scheme}:" if len(parts.scheme) > 1 else "a local path"
        raise PathUnsafe(field, uri, f"must not be {what}, which could name any file; {way_out}")
    if parts.scheme in _WORKSPACE_SCHEMES:
        raise PathUnsafe(
            field, uri, f"must not name files of another workspace, where a reader's key might be sent; {way_out}"
        )
    try:
        check_uri_path(uri.partition(":")[2].lstrip("/"), field)
    except PathUnsafe as error:
        raise PathUnsafe(field, uri, error.rule) from error
