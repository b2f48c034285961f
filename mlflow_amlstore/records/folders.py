"""Folders of files that are kept by path alone: what is right under one."""

from collections.abc import Iterable

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
