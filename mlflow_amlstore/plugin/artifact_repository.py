"""What both artifact repositories do alike: MLflow's calls about local files and folders, errors, progress."""

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.plugin.progress import transfer_progress
from mlflow_amlstore.records.locations import check_path
from mlflow_amlstore.records.types import FileListing

_logger = logging.getLogger(__name__)

PathText = str | os.PathLike[str]


@raises_mlflow_errors
class FilesRepository(ArtifactRepository):
    """An artifact repository over files of a workspace, wherever they are."""

    @abstractmethod
    def _upload(
        self, folder: PathText | None, items: Sequence[tuple[str, Path]], advance: Callable[[int], None] | None
    ) -> None:
        """Store local files under their paths in a folder of this repository, telling `advance` of each chunk."""

    @abstractmethod
    def _list(self, folder: PathText | None) -> tuple[str, Sequence[FileListing]]:
        """A folder's path as the workspace has it, and its immediate children."""

    def log_artifact(self, local_file: PathText, artifact_path: PathText | None = None) -> None:
        local = Path(local_file)
        with transfer_progress(f"Uploading {local.name}", local.stat().st_size) as advance:
            self._upload(artifact_path, [(local.name, local)], advance)

    def log_artifacts(self, local_dir: PathText, artifact_path: PathText | None = None) -> None:
        local = Path(local_dir)
        if not local.is_dir():
            raise InvalidValue("local_dir", str(local), "must be a folder that exists")
        found = sorted(_files_under(local))
        items = [(file.relative_to(local).as_posix(), file) for file in found]
        total = sum(file.stat().st_size for file in found)
        with transfer_progress(f"Uploading {len(items)} files", total) as advance:
            self._upload(artifact_path, items, advance)

    def list_artifacts(self, path: PathText | None = None) -> list[FileInfo]:
        asked = check_path(os.fspath(path)) if path else ""
        folder, children = self._list(path)
        return [
            FileInfo(
                "/".join(part for part in (asked, child.path[len(folder) :].lstrip("/")) if part),
                child.is_folder,
                None if child.is_folder else child.size_bytes,
            )
            for child in children
        ]


def _files_under(folder: Path) -> Iterator[Path]:
    """Every file under a folder; links to files are followed, links to folders are not (they may lead in a circle)."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*names, *links):
            found = Path(parent, name)
            if found.is_file():
                yield found
            else:
                _logger.warning("Not uploaded, as it is no file or a link to none: %s", found)
