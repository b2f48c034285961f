"""Snapshots: which files of a source folder are kept with a run."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.errors import InvalidValue, PathUnsafe
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import DATABASE_NAME, check_new_path

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_BYTES = 300_000_000  # this and the next as Azure ML has them
MAX_FILES = 2_000
_NO_FILE_LIMIT = "AML_SNAPSHOT_NO_FILE_LIMIT"  # lifts the second, as in the SDK
_LARGEST_SHOWN = 5
_MOST_LOOKED_AT = 50_000  # files of a folder that is too large, such as a home
_IGNORE_FILES = (".amlignore", ".gitignore")
_NEVER = {".git", ".venv", ".ipynb_checkpoints", "__pycache__"}  # .git is a file in a worktree
_OF_ENVIRONMENT = "pyvenv.cfg"  # is in every virtual environment, whatever its folder is called

_logger = logging.getLogger(__name__)


class SnapshotEmpty(InvalidValue):
    """A folder has no files to snapshot."""


def store_snapshot(records: CommonStore, path: Path) -> str:
    """Store a file, or a folder without what its `.amlignore` (or else `.gitignore`) lists, and return the new id.

    `.git`, caches, virtual environments, the folder of an embedded workspace and links to folders are left out. So are,
    with a warning, links to files outside the folder, files and folders that can't be read and files with names that a
    workspace can't have. A link to a file of the folder is stored as that file. Raises InvalidValue for a path that
    isn't there, for over 300 MB or 2 000 files, and for an ignore file that can't be understood; SnapshotEmpty if
    there is nothing to store.
    """
    if path.is_file():
        items = [(path.name, path)]
    elif path.is_dir():
        items = files_of_snapshot(path.resolve())
    else:
        raise InvalidValue("snapshot", str(path), "is neither a file nor a folder")
    return records.snapshots.store(items)


def files_of_snapshot(folder: Path) -> list[tuple[str, Path]]:
    """The files of a folder that its snapshot has, by their paths in it. Raises what `store_snapshot` raises."""
    items: list[tuple[str, Path]] = []
    left_out: list[str] = []
    sizes: list[int] = []
    for path, file in _files_of(folder, left_out):
        try:
            check_new_path(path)
            file_size = file.stat().st_size
        except (PathUnsafe, FileNotFoundError):
            left_out.append(path)
            continue
        leads_out = file.is_symlink() and not file.resolve().is_relative_to(folder)
        if leads_out or not os.access(file, os.R_OK):
            left_out.append(path)
            continue
        items.append((path, file))
        sizes.append(file_size)
        if len(items) == _MOST_LOOKED_AT:
            break
    is_cut = len(items) == _MOST_LOOKED_AT
    has_too_many = is_cut or (len(items) > MAX_FILES and not os.environ.get(_NO_FILE_LIMIT))
    if has_too_many or sum(sizes) > MAX_BYTES:
        raise InvalidValue("snapshot", str(folder), _too_large([path for path, _ in items], sizes))
    if left_out:
        _logger.warning("The snapshot of %s leaves out what can't be kept: %s", folder, ", ".join(map(repr, left_out)))
    if not items:
        raise SnapshotEmpty("snapshot", str(folder), "has no files to keep")
    return items


def _too_large(paths: Sequence[str], sizes: Sequence[int]) -> str:
    """What is too much in a folder, which of its folders have most of it, and what leaves the largest out."""
    of_folders: dict[str, list[int]] = defaultdict(list)
    for path, size in zip(paths, sizes, strict=True):
        of_folders[f"{path.partition('/')[0]}/" if "/" in path else "."].append(size)
    is_size = sum(sizes) > MAX_BYTES
    largest = sorted(of_folders, key=lambda name: (sum if is_size else len)(of_folders[name]), reverse=True)
    shown = [
        f"{name} ({sum(of_folders[name]) / 1e6:.0f} MB, {len(of_folders[name])} files)"
        for name in largest[:_LARGEST_SHOWN]
    ]
    line = next((name for name in largest if name != "."), "*.csv")
    has = f"{sum(sizes) / 1e6:.0f} MB" if is_size else f"{len(paths)} files"
    has = f"at least {has}" if len(paths) == _MOST_LOOKED_AT else has
    limit = f"{MAX_BYTES / 1e6:.0f} MB" if is_size else f"{MAX_FILES} files"
    return (
        f"has {has}, and {limit} is the limit. Most are in {', '.join(shown)}. List what isn't source code in a file "
        f".amlignore, such as the line `{line}`, or give another folder, or None for no snapshot"
    )


def _ignored_by(folder: Path) -> "GitIgnoreSpec":
    """What a folder's ignore file lists. Raises InvalidValue for a line that can't be a pattern, naming it."""
    from pathspec import GitIgnoreSpec  # needed here alone

    file = next((folder / name for name in _IGNORE_FILES if (folder / name).is_file()), None)
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if file else []
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError:
        for number, line in enumerate(lines, 1):
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError as error:
                rule = "is no pattern that Git knows. Correct the line or remove it"
                raise InvalidValue(f"line {number} of {file}", line, rule) from error
        raise


def _has(folder: Path, name: str) -> bool:
    return os.path.exists(folder / name)  # noqa: PTH110  # Path's raises where the folder can't be looked into


def _files_of(folder: Path, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    """The files by their paths; folders that can't be read are added to `left_out`."""

    def cant_be_read(error: OSError) -> None:
        left_out.append(f"{Path(error.filename).relative_to(folder).as_posix()}/")

    ignored = _ignored_by(folder)
    for where, folders, names in os.walk(folder, onerror=cant_be_read):
        at = Path(where)
        relative = at.relative_to(folder)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER
            and not ignored.match_file((relative / name).as_posix() + "/")
            and not _has(at / name, DATABASE_NAME)
            and not _has(at / name, _OF_ENVIRONMENT)
        )
        if _has(at, DATABASE_NAME):  # the workspace itself: its config.json and what lies beside it stay
            folders[:] = [name for name in folders if name not in ("files", "service", "running")]
            names = [name for name in names if not name.startswith(DATABASE_NAME)]
        for name in sorted(names):
            path = (relative / name).as_posix()
            is_file = os.path.isfile(at / name)  # noqa: PTH113  # as above
            if name not in _NEVER and is_file and not ignored.match_file(path):
                yield path, at / name
