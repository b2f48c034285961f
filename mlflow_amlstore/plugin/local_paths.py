"""Files of this machine in the place of URIs, which MLflow's own store takes: a model's source, and where an experiment
keeps its files."""

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow_amlstore.errors import InvalidValue

_logger = logging.getLogger(__name__)
_OF_MLFLOW_SERVER = "_MLFLOW_SERVER_FILE_STORE"  # set in its processes, to which a source may come from anywhere


def local_model(source: str) -> tuple[str, list[tuple[str, Path]]] | None:
    """The name of the file or folder of this machine that a source is, and its files as `(NAME[/PATH], file)`.

    None for any other source, and in a server's process. Raises InvalidValue where it is a `file:` URI of nothing, a
    folder without files, or the root of all.
    """
    if _OF_MLFLOW_SERVER in os.environ or not is_local(source):
        return None
    path = _path_of(source)
    if not path.exists():
        if not source.startswith("file:"):
            return None
        raise InvalidValue("model source", source, "must be a file or a folder that exists")
    if not path.name:
        raise InvalidValue("model source", source, "must be a file or a folder with a name")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise InvalidValue("model source", source, "is a folder without files")
    return path.name, [(file.relative_to(path.parent).as_posix(), file) for file in files]


def artifact_location(given: str | None) -> str | None:
    """An experiment's artifact location, None for a path of this machine: the workspace keeps such files itself."""
    if given is None or not is_local(given):
        return given
    _logger.warning("The artifact location %s is of this machine: the experiment's files go into the workspace", given)
    return None


def is_local(uri: str) -> bool:
    """Whether this is a path or a `file:` URI, as MLflow takes it."""
    return uri.startswith("file:") or (bool(uri) and ":" not in uri)


def _path_of(source: str) -> Path:
    return Path(os.path.abspath(url2pathname(urlsplit(source).path) if source.startswith("file:") else source))
