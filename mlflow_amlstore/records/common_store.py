"""What the records of every workspace can be asked, embedded or behind a service: what `core` is written against.

A part of `records.store`, which says what holds for all of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.types import (
    ComputeTargetRecord,
    EnvironmentRecord,
    ExperimentRecord,
    FileRecord,
    LoggedModelRecord,
    LoggedTuple,
    LoggedValues,
    MetricKind,
    MetricPoint,
    MetricRecord,
    ModelFilter,
    ModelVersionRecord,
    Page,
    QueueEntry,
    RunError,
    RunFilter,
    RunInfo,
    RunRecord,
    RunStatus,
    SeriesCurve,
    View,
)


class CommonExperiments(Protocol):
    """Named groups of runs."""

    def create(self, name: str, *, artifact_location: str | None = None, tags: Mapping[str, str] | None = None) -> str:
        """Create an experiment and return its id. Raises AlreadyExists; PathUnsafe for a local `artifact_location`."""

    def get(self, experiment_id: str) -> ExperimentRecord:
        """Return an experiment, deleted ones too."""

    def find_by_name(self, name: str) -> ExperimentRecord | None:
        """Return the experiment of that name, deleted ones too, or None."""

    def search(
        self,
        *,
        view: View = View.ACTIVE,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ExperimentRecord]:
        """Return a page of experiments, the newest first unless `order_by` says otherwise."""

    def delete(self, experiment_id: str) -> None:
        """Delete an experiment and its runs; `restore` undoes it, `gc` makes it final."""

    def restore(self, experiment_id: str) -> None:
        """Bring a deleted experiment and its runs back."""

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        """Set a tag. Raises Deleted."""

    def delete_tag(self, experiment_id: str, name: str) -> None:
        """Delete a tag. Raises Deleted; NotFound where there is no such tag."""


class CommonRuns(Protocol):
    """Runs and what is logged into them, but for metric histories and files."""

    def create(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        status: RunStatus = RunStatus.RUNNING,
        start_ms: int | None = None,
        parent_run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        definition: Mapping[str, Any] | None = None,
        in_this_process: bool = False,
    ) -> RunRecord:
        """Create a run, with an id of the caller's choice or a new one. Raises Deleted (experiment), AlreadyExists.

        `definition` is how it was submitted: JSON, as the SDK sends it of a run configuration.
        `in_this_process` says that this process sets it going: in a folder, it is found to have failed where the
        process dies (`runner.deaths`).
        """

    def create_children(
        self,
        parent: RunInfo,
        tags_of_each: Sequence[Mapping[str, str]],
        *,
        user_id: str = "",
        start_ms: int,
        in_this_process: bool = False,
    ) -> list[RunRecord]:
        """Start a child of a run for each of the tags, in the run's experiment, and return them in this order.

        Raises Deleted (experiment), InvalidValue; embedded, there are none of them then.
        """

    def get(self, run_id: str) -> RunRecord:
        """Return a run with its params, tags and properties; deleted ones too."""

    def definition(self, run_id: str) -> dict[str, Any]:
        """Return how a run was submitted; empty for one that wasn't."""

    def queue(self) -> list[QueueEntry]:
        """Return the active runs that haven't ended: of each compute target what runs, the oldest first, and then what
        waits; and those that weren't submitted, which a service leaves out."""

    def whole(self, run_id: str) -> RunRecord:
        """As `get`, and with its latest metrics, inputs and outputs, for which a service is asked twice."""

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        """Return a page of runs, the latest started first unless `order_by` says otherwise. A service leaves out their
        properties, and why they failed."""

    def delete(self, run_id: str) -> None:
        """Delete a run; `restore` undoes it."""

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""

    def find(
        self,
        filter: RunFilter,
        *,
        experiment_id: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        """Return a page of active runs, the latest started first; all of them when `max_results` is None."""

    def update(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        name: str | None = None,
        error: RunError | None = None,
        in_this_process: bool = False,
    ) -> RunInfo:
        """Change what is given and return the run's facts; `in_this_process` as `create` has it, for a run that is set
        Running again. Raises Deleted."""

    def advance(self, run_id: str, status: RunStatus, *, start_ms: int | None = None) -> RunStatus:
        """Set the status of a run that goes on, unless it was canceled or has ended; return the status that it has.

        Raises NotFound.
        """

    def input_datasets(self, run_id: str) -> list[dict[str, Any]]:
        """Return the facts of the datasets that went into a run; of MLflow's, `name` and `digest`."""

    def delete_tag(self, run_id: str, name: str) -> None:
        """Delete a tag. Raises Deleted; NotFound where there is no such tag."""

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, whose names may be any text. Raises Deleted."""

    def add_properties(self, run_id: str, properties: Mapping[str, str]) -> None:
        """Add write-once properties. Raises Deleted, Changed (property)."""


class CommonMetrics(Protocol):
    """Histories of a run's metrics. A run without the metric has an empty history."""

    def history(self, run_id: str, name: str) -> Page[MetricPoint]:
        """Return all points that MLflow sees of a metric by time, then step, then value."""

    def sample(self, run_id: str, name: str, *, max_results: int) -> Sequence[MetricPoint]:
        """Return about evenly spaced points of a metric, at most 1000, first and last among them."""

    def curves_of_run(self, run_id: str, names: Sequence[str], *, columns: int) -> list[SeriesCurve]:
        """Return these series of a run as they are drawn in so many columns each (`records.curves`), in this order and
        without those that it lacks or that have text alone.

        They lie over their steps; where all points of a series have one step, over their times. A series is named as
        MLflow names it: a grid's column is `name.column`.
        """

    def log_values(
        self,
        run_id: str,
        logged: Sequence[LoggedValues | LoggedTuple],
        *,
        write_id: str | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> int:
        """Append what calls of the `Run` vocabulary logged, in their order: as many of the first calls as one write
        takes, all or none of these; return how many. `write_id`, 32 hex digits, makes it a write that is applied once,
        however often it is tried with the same calls. `descriptions` are kept of the metrics that the calls name, each
        in place of the one before.

        A name stays what it was first logged as: a vector (scalars and lists), a grid (rows and tables), or one of the
        kinds that are files; InvalidValue is raised for another. MLflow sees each numeric column of a grid as the
        history `name.column`. Raises NotFound, Deleted, for no calls too.
        """

    def descriptions(self, run_id: str) -> dict[str, str]:
        """Return the descriptions of the run's metrics, by name; of those that have one."""

    @property
    def is_busy_here(self) -> bool:
        """Whether this thread is in the midst of a call, for the end of which other threads may wait: true where a
        signal's handler or a finalizer has interrupted one."""

    def list_names(self, run_id: str) -> list[tuple[str, MetricKind]]:
        """Return the names and kinds of all the run's metrics, in the order that they came."""

    def list_metrics(self, run_id: str, name: str | None = None, *, with_times: bool = False) -> list[MetricRecord]:
        """Return all the run's metrics, or those of one name, with all values in the order they were logged.

        Steps and times come `with_times`; a vector's values alone are read in half the time.
        """


class CommonFiles(Protocol):
    """Files of containers. A container is what `records.locations` names: a run's files, or a logged model's."""

    def write(self, container: str, path: str, source: BinaryIO, *, content_type: str | None = None) -> FileRecord:
        """Store a stream under `path`, replacing what was there; readers see the old file or the new one, whole."""

    def write_local(
        self, container: str, items: Iterable[tuple[str, Path]], *, progress: Callable[[int], None] | None = None
    ) -> list[FileRecord]:
        """Store local files under their paths, all visible at once; `progress` is told of each chunk's bytes."""

    def open(self, container: str, path: str) -> BinaryIO:
        """Open a file for reading. Raises NotFound."""

    def end_growing(self, container: str, path: str, *, local: Path | None = None, also: Sequence[str] = ()) -> object:
        """End a growing file whose process was killed; as `CommonGrowingFile.end`.

        Of a workspace behind a service, `local` is the file that the process wrote to.
        """

    def read_part(self, container: str, path: str, begin: int, most_bytes: int) -> bytes:
        """Return bytes of a file from `begin` on, as many as there are. Raises NotFound."""

    def grow(self, container: str, path: str, *, name: str | None = None) -> "CommonGrowingFile":
        """Begin a file that is read while it is written, replacing what was there.

        `name` is that of what a process writes to already: growing content of an embedded workspace, and for one
        behind a service the path of a local file.
        """

    def download(
        self, container: str, path: str, target: Path, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Copy a file to `target`, whole or not at all, checking its SHA-256 on the way. Raises NotFound."""

    def find(self, container: str, path: str) -> FileRecord | None:
        """Return the file's record, or None where there is no such file."""

    def list_all(
        self, container: str, folder: str = "", *, after: str = "", max_results: int | None = None
    ) -> list[FileRecord]:
        """Return the files under the folder (or the file of that name) by path: those after `after`, and no more."""


class CommonGrowingFile(Protocol):
    """A file that is read while it is written, such as a log."""

    def write(self, chunk: bytes) -> None:
        """Add bytes to its end."""

    def show(self) -> int:
        """Let readers see what has been written, by whomever; return how many bytes that are."""

    def end(self, *, also: Sequence[str] = ()) -> object:
        """Write no more: it becomes a file like others, under these other names too."""


class CommonLoggedModels(Protocol):
    """Models logged by runs, as MLflow 3 has them."""

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        source_run_id: str | None = None,
        model_type: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModelRecord:
        """Create a pending logged model. Raises Deleted (experiment)."""

    def get(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModelRecord:
        """Return a logged model. Raises NotFound, for a deleted one too unless allowed."""

    def finalize(self, model_id: str, status: str) -> LoggedModelRecord:
        """Set the final status (READY or FAILED) and return the model."""

    def add_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Add params. Raises AlreadyExists for a name that is there."""

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""

    def delete_tag(self, model_id: str, name: str) -> None:
        """Delete a tag. Raises NotFound where there is no such tag."""

    def delete(self, model_id: str) -> None:
        """Delete a logged model; its files stay until `gc`."""


class CommonModels(Protocol):
    """Versions of registered models."""

    def register(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        """Add the next version of a model, which is made where there is none of the name.

        `source` is `workspace:/CONTAINER/PATH`. Raises PathUnsafe for one that names this machine's files, and
        AlreadyExists where a prompt has the name.
        """

    def get_version(self, name: str, version: int) -> ModelVersionRecord:
        """Return a version."""

    def find_versions(
        self, filter: ModelFilter, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[ModelVersionRecord]:
        """Return a page of versions by model name, the newest first; all of them when `max_results` is None."""

    def location_of(self, version: ModelVersionRecord) -> str | None:
        """Return `CONTAINER/PATH` of a version's file or folder; None where it isn't in this workspace."""

    def set_version_tag(self, name: str, version: int, tag: str, value: str) -> None:
        """Set a version's tag."""

    def delete_version_tag(self, name: str, version: int, tag: str) -> None:
        """Delete a version's tag; nothing happens where there is none."""

    def add_version_properties(self, name: str, version: int, properties: Mapping[str, str]) -> None:
        """Add write-once properties. Raises Changed."""

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version with its aliases; its number is never given again while the model exists."""


class CommonSnapshots(Protocol):
    """Source folders as they were; an id names each for good."""

    def store(self, items: Sequence[tuple[str, Path]]) -> str:
        """Keep local files under their paths, and return the snapshot's id."""

    def write_zip(self, snapshot_id: str, target: Path) -> None:
        """Write a snapshot as a zip file, whole or not at all. Raises NotFound."""


class CommonComputeTargets(Protocol):
    """What runs are submitted to, by name. `local`, the submitter's machine, is not among them: it is always there."""

    def put(self, name: str, kind: str, slots: int, settings: Mapping[str, Any]) -> ComputeTargetRecord:
        """Make a target, or change the one of this name. Raises InvalidValue."""

    def get(self, name: str) -> ComputeTargetRecord:
        """Return a target. Raises NotFound."""

    def list(self) -> list[ComputeTargetRecord]:
        """Return all targets by name."""

    def delete(self, name: str) -> None:
        """Delete a target; runs that were submitted to it go on. Raises NotFound."""


class CommonEnvironments(Protocol):
    """Registered environments: each name has versions, of which none is ever changed."""

    def put(self, name: str, definition: Mapping[str, Any], version: str | None = None) -> EnvironmentRecord:
        """Keep a definition under a name, and return its version: the one that has this definition already, or a new
        one. A new one is called `version`, or where that is None or taken, by the next number. Raises InvalidValue."""

    def get(self, name: str, version: str | None = None) -> EnvironmentRecord:
        """Return a version, or the latest. Raises NotFound with what there is, InvalidValue."""

    def list(self) -> list[EnvironmentRecord]:
        """Return the latest version of each name, by name."""


class CommonStore(Protocol):
    """A workspace's run records, by topic. Safe across threads; a forked child gets its own connections."""

    @property
    def experiments(self) -> CommonExperiments: ...

    @property
    def runs(self) -> CommonRuns: ...

    @property
    def metrics(self) -> CommonMetrics: ...

    @property
    def files(self) -> CommonFiles: ...

    @property
    def models(self) -> CommonModels: ...

    @property
    def snapshots(self) -> CommonSnapshots: ...

    @property
    def compute_targets(self) -> CommonComputeTargets: ...

    @property
    def environments(self) -> CommonEnvironments: ...

    def close(self) -> None:
        """Release connections; the store may not be used afterwards. Calling it again does nothing."""
