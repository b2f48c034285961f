"""Snapshots: which files of a source folder are kept with a run."""

import os
from collections.abc import Iterator
from pathlib import Path

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import DATABASE_NAME

MAX_BYTES = 300_000_000  # as Azure ML has it
_IGNORE_FILES = (".amlignore", ".gitignore")
_NEVER = {".git", ".ipynb_checkpoints", "__pycache__"}


class SnapshotTooLarge(InvalidValue):
    """A folder has more than a snapshot may."""


def store_snapshot(records: CommonStore, path: Path) -> str:
    """Keep a file, or a folder but for what its `.amlignore`, else its `.gitignore`, leaves out; return the new id.

    Left out, too, are `.git`, caches, and the folder of an embedded workspace. Raises InvalidValue for a path that
    isn't there, SnapshotTooLarge for over 300 MB.
    """
    if path.is_file():
        items = [(path.name, path)]
    elif path.is_dir():
        items = list(_files_of(path.resolve()))
    else:
        raise InvalidValue("snapshot", str(path), "is neither a file nor a folder")
    size = sum(file.stat().st_size for _, file in items)
    if size > MAX_BYTES:
        raise SnapshotTooLarge(
            "snapshot",
            str(path),
            f"has {size / 1e6:.0f} MB, and {MAX_BYTES / 1e6:.0f} MB is the most; list what isn't source code in "
            "a file .amlignore, or give another folder, or None for no snapshot",
        )
    return records.snapshots.store(items)


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    from pathspec import GitIgnoreSpec  # needed here alone

    ignore_file = next((folder / name for name in _IGNORE_FILES if (folder / name).is_file()), None)
    lines = ignore_file.read_text(encoding="utf-8").splitlines() if ignore_file else []
    ignored = GitIgnoreSpec.from_lines(lines)
    for where, folders, names in os.walk(folder):
        at = Path(where)
        relative = at.relative_to(folder)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER
            and not ignored.match_file((relative / name).as_posix() + "/")
            and not (at / name / DATABASE_NAME).exists()
        )
        if (at / DATABASE_NAME).exists():  # the workspace itself: its config.json and what lies beside it stay
            folders[:] = [name for name in folders if name not in ("files", "service")]
            names = [name for name in names if not name.startswith(DATABASE_NAME)]
        for name in sorted(names):
            path = (relative / name).as_posix()
            if (at / name).is_file() and not ignored.match_file(path):
                yield path, at / name
