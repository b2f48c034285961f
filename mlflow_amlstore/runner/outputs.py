"""Files of local folders that become files of a run: what is written into the outputs folder, and how it is kept."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.errors import AmlStoreError, InvalidValue, LocalFileFailed, TransferBroken

if TYPE_CHECKING:
    from mlflow_amlstore.records.common_store import CommonStore

FULL = "RESOURCE_EXHAUSTED"
"""The code of an error where there is no room; a service's refusals have it, too."""
WATCHED_FOLDERS = ("outputs", "logs")
"""What a submitted script writes into these is kept with its run."""
_Stamp = tuple[int, int, int]  # time of writing, size and inode: a file that was copied here may have an older time


def files_under(folder: Path, name: str) -> list[tuple[str, Path]]:
    """The files under a folder as `(NAME/PATH, file)`. Raises InvalidValue if it isn't a folder."""
    if not folder.is_dir():
        raise InvalidValue(f"folder {name!r}", str(folder), "is not a folder")
    prefix = f"{name.strip('/')}/" if name.strip("/") else ""
    # Both raise nothing for what goes meanwhile, and Path's `rglob` and `is_file` do.
    found = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    files = sorted(file for file in found if os.path.isfile(file))  # noqa: PTH113
    return [(prefix + file.relative_to(folder).as_posix(), file) for file in files]


class OutputsFolder:
    """A folder, and what is written into it from now on."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Make the folder where it isn't there, if that can be done."""
        self._folder = Path(path).absolute()  # the current folder may be another one by the end
        self._is_ours = not self._folder.exists()
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[Path, _Stamp] = {}
        self.upload_changed(lambda _: None)

    def upload_changed(self, upload: Callable[[list[tuple[str, Path]]], object]) -> None:
        """Upload the files that are new or have changed since the last upload, as `(FOLDER/PATH, file)`.

        Raises what `upload` raises; the next call then uploads the same files again.
        """
        if not self._folder.is_dir():
            return
        changed, stamps = [], {}
        for name, file in files_under(self._folder, self._folder.name or "outputs"):
            try:
                stamp = _stamp(file.stat())
            except FileNotFoundError:  # written and removed meanwhile
                continue
            if self._known.get(file) != stamp:
                stamps[file] = stamp
                changed.append((name, file))
        if changed:
            upload(changed)
        self._known |= stamps

    def leave(self) -> None:
        """Remove the folder if it was made here and nothing is in it."""
        if self._is_ours:
            with suppress(OSError):
                self._folder.rmdir()


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


class KeptOutputs:
    """What is written into some folders, kept as files of a run. `kept` has the size in bytes of each, by its path."""

    def __init__(self, records: "CommonStore", container: str, folders: Sequence[OutputsFolder]) -> None:
        self._records, self._container, self._folders = records, container, folders
        self.kept: dict[str, int] = {}
        self._not_kept: dict[str, tuple[Path, Exception]] = {}  # and why

    def keep_new(self) -> None:
        """Keep what is new or has changed. Raises AmlStoreError and OSError where the fault isn't one file's own."""
        for folder in self._folders:
            folder.upload_changed(self.keep)

    def keep_rest(self) -> str:
        """Keep what is left, at the end; return why one file can't be kept, if that is so."""
        try:
            self.keep_new()
            again = [(path, file) for path, (file, _) in self._not_kept.items() if os.path.lexists(file)]
            self._not_kept.clear()
            if again:
                self.keep(again)
        except (AmlStoreError, OSError) as error:
            return f"the outputs can't be kept: {error}"
        return next((f"the outputs can't be kept: {error}" for _, error in self._not_kept.values()), "")

    def keep(self, files: list[tuple[str, Path]]) -> None:
        """Keep files, each by itself where it can't be done together: one may have gone meanwhile."""
        try:
            kept = self._records.files.write_local(self._container, files)
        except (AmlStoreError, OSError) as error:
            if not _is_about_files(error):
                raise
            kept = []
            for path, file in files:
                try:
                    kept += self._records.files.write_local(self._container, [(path, file)])
                except (AmlStoreError, OSError) as about_one:
                    if not _is_about_files(about_one):
                        raise
                    self._not_kept[path] = file, about_one
        self.kept |= {record.path: record.size_bytes for record in kept}


def _is_about_files(error: Exception) -> bool:
    """Whether files can't be kept because of one of them, and not of the workspace."""
    return isinstance(error, OSError | InvalidValue | LocalFileFailed | TransferBroken) or (
        isinstance(error, AmlStoreError) and error.mlflow_code == FULL
    )
