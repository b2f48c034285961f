"""Places on this machine, outside of a workspace, that its files are read from and written to."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow_amlstore.errors import LocalFileFailed

_MOVE_IT_AWAY = "Move it away, or give another path"


@contextmanager
def arriving(target: Path) -> Iterator[Path]:
    """A path beside `target` for what is written, which takes the target's place at the end: whole or not at all.

    Raises LocalFileFailed for what the operating system refuses.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with local_errors(target):
            yield temporary
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they aren't there. Raises LocalFileFailed."""
    with local_errors(folder, check_folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_file(file: Path) -> None:
    """Raise LocalFileFailed where no file can be: a folder is there, or something else in place of a folder above."""
    check_folder(file.parent)
    if os.path.lexists(file) and file.is_dir():
        raise LocalFileFailed(str(file), "it is a folder, but has a file's name", _MOVE_IT_AWAY)


def check_folder(folder: Path) -> None:
    """Raise LocalFileFailed where no folder can be: something else is there, or in the place of a folder above."""
    for each in (folder, *folder.parents):
        if os.path.lexists(each) and not each.is_dir():
            raise LocalFileFailed(str(each), "it is no folder, but has a folder's name", _MOVE_IT_AWAY)


@contextmanager
def local_errors(path: Path, check: Callable[[Path], None] = check_file) -> Iterator[None]:
    """What the operating system refuses about a file, or with `check_folder` a folder, as LocalFileFailed."""
    try:
        yield
    except OSError as error:
        check(path)
        raise LocalFileFailed(str(path), error.strerror or type(error).__name__) from None
