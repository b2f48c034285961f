"""Folders of files that are kept by path alone: what is right under one, and that none has a file's name."""

from collections.abc import Iterable

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import FileListing


def children_of(folder: str, files: Iterable[tuple[str, int]]) -> list[FileListing]:
    """Return a folder's immediate children by path, of files given as `(path, size_bytes)`.

    `folder` "" is the topmost. What isn't under the folder, such as a file of its name, is left out.
    """
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, int] = {}
    children: list[FileListing] = []
    for path, size_bytes in files:
        if not path.startswith(prefix):
            continue
        name, slash, _ = path[len(prefix) :].partition("/")
        if slash:
            folders[name] = folders.get(name, 0) + size_bytes
        else:
            children.append(FileListing(path, False, size_bytes))
    children += [FileListing(prefix + name, True, size_bytes) for name, size_bytes in folders.items()]
    return sorted(children, key=lambda child: child.path)


def file_and_folder(path: str, there: str) -> InvalidValue:
    """What is raised for a file whose path is a folder on the way to one that is there, or the other way round."""
    return InvalidValue("artifact path", path, f"{there!r} exists, and a path is either a file or a folder")


def check_no_clash(path: str, files: Iterable[str]) -> None:
    """Raise InvalidValue where a file at this path can't be beside one of those that are there."""
    for there in files:
        if there.startswith(f"{path}/") or path.startswith(f"{there}/"):
            raise file_and_folder(path, there)
