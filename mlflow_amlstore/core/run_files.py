"""The files of a run: uploads and downloads, its logs, its snapshot, and models made of its files."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.model import Model, register_run_model
from mlflow_amlstore.core.not_yet import refuse_given
from mlflow_amlstore.core.open_run import OpenRun
from mlflow_amlstore.core.snapshots import store_snapshot
from mlflow_amlstore.errors import InvalidState, InvalidValue, NotFound
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX, RUN_ORIGIN
from mlflow_amlstore.records.local_place import make_folder
from mlflow_amlstore.records.locations import check_path
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY
from mlflow_amlstore.runner.outputs import OutputsFolder, files_under

_LOG_FOLDERS = ("user_logs", "logs", "azureml-logs", "system_logs")


class UploadedFiles:
    """Files that were uploaded. `artifacts` has for each name where Azure ML's protocol finds the file."""

    def __init__(self, run_id: str, names: Iterable[str]) -> None:
        container = RUN_CONTAINER_PREFIX + run_id
        self.artifacts = {
            name: {
                "artifactId": f"{RUN_ORIGIN}/{container}/{path}",
                "origin": RUN_ORIGIN,
                "container": container,
                "path": path,
            }
            for name, path in ((name, check_path(name)) for name in names)
        }

    def __repr__(self) -> str:
        return f"UploadedFiles({', '.join(self.artifacts)})"

    def serialize(self) -> dict[str, Any]:
        """Return it as a dictionary, as the SDK does but for the files' signed URLs, which are secrets."""
        return {"artifacts": self.artifacts, "errors": {}}


class RunFiles(OpenRun):
    """A run's files."""

    def _open_outputs(self, outputs: PathText | None) -> None:
        self._outputs = None if outputs is None else OutputsFolder(outputs)

    def _upload_outputs(self) -> None:
        """Upload what was written into the outputs folder since this object was made."""
        if self._outputs is not None:
            self._outputs.upload_changed(self._upload)
            self._outputs.leave()

    def upload_file(
        self, name: str, path_or_stream: PathText | BinaryIO, datastore_name: str | None = None
    ) -> UploadedFiles:
        """Upload a file, or the rest of a binary stream, under a name with `/` between folders; a folder with all that
        is under it, as `name/…`.

        A file of that name is replaced. Raises InvalidValue for a file that can't be read, and for an unsafe name.
        """
        refuse_given("Run.upload_file", datastore_name=datastore_name)
        names = [name]
        if isinstance(path_or_stream, str | PathLike):
            path = Path(path_or_stream)
            files = list(files_under(path, name)) if path.is_dir() else [(name, path)]
            names = [each for each, _ in files]
            self._upload(files)
        else:
            if not hasattr(path_or_stream, "read") or not isinstance(path_or_stream.read(0), bytes):
                raise InvalidValue(
                    f"file {name!r}", type(path_or_stream).__name__, "must be a path or a stream of bytes"
                )
            self._records.files.write(self._container, name, path_or_stream)
        if self._offline is not None:
            self._offline.announce(f"file {name}")
        return UploadedFiles(self.id, names)

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[PathText],
        return_artifacts: bool = False,
        timeout_seconds: float | None = None,
        datastore_name: str | None = None,
    ) -> None:
        """Upload several files, each under its name: all of them, or none."""
        refuse_given("Run.upload_files", return_artifacts=return_artifacts, datastore_name=datastore_name)
        if len(names) != len(paths):
            raise InvalidValue("names", len(names), f"must be as many as paths ({len(paths)})")
        self._upload(list(zip(names, map(Path, paths), strict=True)))

    def upload_folder(self, name: str, path: PathText, datastore_name: str | None = None) -> None:
        """Upload all files under a folder, as `name/…`: all of them, or none."""
        refuse_given("Run.upload_folder", datastore_name=datastore_name)
        self._upload(files_under(Path(path), name))

    def _upload(self, items: Sequence[tuple[str, Path]]) -> None:
        for name, path in items:
            if not path.is_file():
                raise InvalidValue(f"file {name!r}", str(path), "is not a file that can be read")
        self._records.files.write_local(self._container, items)

    def get_file_names(self) -> list[str]:
        """Return the names of the run's files."""
        return [file.path for file in self._records.files.list_all(self._container)]

    def download_file(
        self, name: str, output_file_path: PathText | None = None, _validate_checksum: bool = False
    ) -> None:
        """Download a file to a path, or under its own name into an existing folder, by default the current one.

        The content is verified, and the file appears whole or not at all. Raises NotFound.
        """
        target = Path() if output_file_path is None else Path(output_file_path)
        self._download(name, target / name.rpartition("/")[2] if target.is_dir() else target)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: PathText | None = None,
        output_paths: Sequence[PathText] | None = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: float | None = None,
    ) -> None:
        """Download the files under the folder `prefix` of the run, by default all files.

        They go into `output_directory`, by default the current one, under their whole names; with
        `append_prefix=False`, without the prefix, which may be a file's name, too. `output_paths` gives each file a
        path instead, in the files' order. Raises NotFound if there are no files.
        """
        prefix = (prefix or "").replace("\\", "/").strip("/")
        prefix = check_path(prefix) if prefix else ""
        paths = [file.path for file in self._records.files.list_all(self._container, prefix)]
        if not paths:
            raise NotFound("file", prefix or "*", f"Run {self.id} has no files there")
        targets = output_paths
        if targets is None:
            targets = paths if append_prefix else [_below(prefix, path) for path in paths]
        elif len(targets) != len(paths):
            raise InvalidValue("output_paths", len(targets), f"must be as many as the files ({len(paths)})")
        for path, target in zip(paths, targets, strict=True):
            self._download(path, Path(output_directory or "", target))

    def _download(self, path: str, target: Path) -> Path:
        make_folder(target.parent)
        self._records.files.download(self._container, path, target)
        return target

    def _file_uri(self, path: str) -> str:
        return self._experiment.workspace.file_uri(f"{self._container}/{path}")

    def take_snapshot(self, file_or_folder_path: PathText) -> str:
        """Snapshot a file or folder, without what `.amlignore` (or else `.gitignore`) lists, and return its id.

        Raises InvalidValue for a path that isn't there or a folder of over 300 MB; Changed if the run has a snapshot.
        """
        snapshot_id = store_snapshot(self._records, Path(file_or_folder_path))
        self._records.runs.add_properties(self.id, {SNAPSHOT_PROPERTY: snapshot_id})
        return snapshot_id

    def restore_snapshot(self, snapshot_id: str | None = None, path: PathText | None = None) -> str:
        """Write a snapshot, by default the run's own, as a zip file into a folder, by default the current one.

        Returns the file's path. Raises InvalidState if the run has no snapshot, NotFound. A service makes and keeps
        the zip file, so that needs a contributor's key.
        """
        wanted = snapshot_id or self.get_snapshot_id()
        if wanted is None:
            raise InvalidState(f"Run {self.id} has no snapshot; take one with take_snapshot(path)")
        target = Path("." if path is None else path, f"{wanted}.zip")
        make_folder(target.parent)
        self._records.snapshots.write_zip(wanted, target)
        return str(target.absolute())

    def get_snapshot_id(self) -> str | None:
        """Return the id of the run's snapshot; None if it has none."""
        return self._now().properties.get(SNAPSHOT_PROPERTY)

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        description: str | None = None,
        datasets: object = None,
        sample_input_dataset: object = None,
        sample_output_dataset: object = None,
        resource_configuration: object = None,
        **kwargs: object,
    ) -> Model:
        """Register a file or folder of the run as the next version of a model (`model_name` is its path by default).

        Raises NotFound if the run has no such file, AttributeNotSupported for an offline run that is kept nowhere.
        """
        self._must_be_kept("Run.register_model")
        refuse_given(
            "Run.register_model",
            datasets=datasets,
            sample_input_dataset=sample_input_dataset,
            sample_output_dataset=sample_output_dataset,
            resource_configuration=resource_configuration,
            **kwargs,
        )
        return register_run_model(
            self._experiment.workspace,
            self._info,
            model_name,
            model_name if model_path is None else model_path,
            tags=tags,
            properties=properties,
            framework=model_framework,
            framework_version=model_framework_version,
            description=description,
        )

    def get_all_logs(self, destination: PathText | None = None) -> list[str]:
        """Download the run's logs into a folder (`./assets/RUN_ID` by default) and return the files' paths."""
        folder = Path("assets", self.id) if destination is None else Path(destination)
        paths = self._log_files()
        return [str(self._download(path, folder / path)) for path in paths]

    def _log_files(self) -> list[str]:
        files = self._records.files
        return [file.path for folder in _LOG_FOLDERS for file in files.list_all(self._container, folder)]

    def _log_text(self, path: str) -> str:
        with self._records.files.open(self._container, path) as source:
            return source.read().decode(errors="replace")


def _below(prefix: str, path: str) -> str:
    """A file's path below a folder of the run; the file's own name where the prefix is that file."""
    return path.removeprefix(prefix).lstrip("/") or path.rpartition("/")[2]
