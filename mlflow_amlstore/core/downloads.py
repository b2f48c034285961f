"""Files of a workspace that come onto this machine together: all of them, or none."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow_amlstore.errors import LocalFileFailed
from mlflow_amlstore.records.common_store import CommonFiles
from mlflow_amlstore.records.local_place import check_file, check_folder, local_errors


def download_all(files: CommonFiles, container: str, places: Mapping[str, Path]) -> None:
    """Download files of a container, each to its place, over a file that is there.

    They lie beside their places until the last has come, so that a download that fails leaves everything as it was.
    Raises LocalFileFailed.
    """
    for place in places.values():
        check_file(place)
    with ExitStack() as undo:
        parts = []
        for path, place in places.items():
            _make_folder(place.parent, undo)
            part = place.with_name(f".{uuid.uuid4().hex}.part")
            undo.callback(part.unlink, missing_ok=True)
            try:
                files.download(container, path, part)
            except LocalFileFailed as error:
                raise LocalFileFailed(str(place), error.problem, error.way_out) from error
            parts.append((part, place))
        for part, place in parts:
            if not os.path.lexists(place):
                undo.callback(place.unlink, missing_ok=True)
            with local_errors(place):
                part.replace(place)
        undo.pop_all()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A path for a folder that takes the place of `folder` at the end: whole or not at all, even where `kill -9` comes.

    One that another process has put there meanwhile stays. Raises LocalFileFailed.
    """
    check_folder(folder)
    with ExitStack() as undo:
        _make_folder(folder.parent, undo)  # which stays where something is in it
        with local_errors(folder, check_folder):
            temporary = undo.enter_context(TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent))
        whole = Path(temporary, "whole")
        yield whole
        with local_errors(folder, check_folder):
            try:
                whole.rename(folder)
            except OSError:
                if not (folder.is_dir() and any(folder.iterdir())):
                    raise


def _make_folder(folder: Path, undo: ExitStack) -> None:
    """Make a folder and those above it, where they aren't there. `undo` removes what was made and is empty."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with local_errors(each, check_folder):
            try:
                each.mkdir()
            except FileExistsError:
                check_folder(each)
            else:
                undo.callback(_remove_if_empty, each)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
