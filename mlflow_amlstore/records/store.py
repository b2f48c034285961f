"""The record store: everything a workspace can be asked to do with its run records.

SQL on this machine implements it whole; the client of a service, the part that is `records.common_store`. It speaks in
`records.types`, raises `mlflow_amlstore.errors`, and knows neither MLflow nor HTTP. Every method is one transaction:
done whole and durable on return, or not done at all. Any method may raise `NotFound` for an id that this workspace
doesn't have, `InvalidValue` for a value that breaks a rule, `ReadOnly`, `DiskFull`, `WorkspaceBusy` and
`StorageFailed`; docstrings name only what is particular.

A search takes a filter that `records.search.parser` read, and orderings in MLflow's words.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from mlflow_amlstore.records.common_store import (
    CommonExperiments,
    CommonFiles,
    CommonLoggedModels,
    CommonMetrics,
    CommonModels,
    CommonRuns,
    CommonStore,
)
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.types import (
    DatasetInput,
    DatasetSummary,
    FileListing,
    FileRecord,
    KeyRecord,
    LoggedModelPoint,
    LoggedModelRecord,
    MetricPage,
    MetricPoint,
    ModelRecord,
    ModelVersionRecord,
    OrderTerm,
    Page,
    PointTuple,
    RunModel,
    RunRecord,
    TrashContents,
    View,
)


class Experiments(CommonExperiments, Protocol):
    """Named groups of runs."""

    def rename(self, experiment_id: str, name: str) -> None:
        """Rename an active experiment. Raises InvalidState for a deleted one, AlreadyExists."""
        ...


class Runs(CommonRuns, Protocol):
    """Runs and what is logged into them, but for metric histories and files."""

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        order_by: Sequence[str] = (),
        max_results: int | None = 1000,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        """Return a page of runs, the latest started first unless `order_by` says otherwise.

        A page continues after the last run of the page before, so runs added meanwhile neither repeat nor hide any.
        """
        ...

    def roots_of(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Return the topmost run above each run, which is itself where it has no parent or the parent isn't there."""
        ...

    def delete(self, run_id: str) -> None:
        """Delete a run; `restore` undoes it."""
        ...

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""
        ...

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[PointTuple] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
        model_points: Sequence[LoggedModelPoint] = (),
    ) -> None:
        """Append metric points, add params and set tags: all of them, or none.

        A point equal in name, value, step and time to one that is there is the same point and is kept once, as MLflow
        does. A param given again with its value is fine. Raises Deleted, Changed (param).
        """
        ...

    def log_inputs(
        self, run_id: str, *, datasets: Sequence[DatasetInput] = (), models: Sequence[RunModel] = ()
    ) -> None:
        """Record datasets that went into the run and models that went in or came out. Raises Deleted."""
        ...

    def list_datasets(self, experiment_ids: Sequence[str]) -> list[DatasetSummary]:
        """Return the datasets of the experiments' runs, at most 1000."""
        ...


class Metrics(CommonMetrics, Protocol):
    """Histories of a run's metrics. A run without the metric has an empty history."""

    def history(
        self, run_id: str, name: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[MetricPoint]:
        """Return points by time, then step, then value; all of them when `max_results` is None."""
        ...

    def history_of_runs(self, run_ids: Sequence[str], name: str, *, max_results: int) -> list[tuple[str, MetricPoint]]:
        """Return `(run_id, point)` by run id, then as `history`; at most `max_results` in all."""
        ...

    def at_steps(self, run_id: str, name: str, steps: Sequence[int], *, max_results: int) -> list[MetricPoint]:
        """Return the points at these steps by step, then time, then value."""
        ...

    def sample(
        self, run_id: str, name: str, *, max_results: int, steps: tuple[int, int] | None = None
    ) -> list[MetricPoint]:
        """Return about evenly spaced points, first and last among them, within `steps` (inclusive) if given."""
        ...

    def page(
        self,
        run_id: str,
        name: str,
        *,
        max_rows: int,
        page_token: str | None = None,
        first_ms: int | None = None,
        last_ms: int | None = None,
        with_times: bool = True,
    ) -> MetricPage | None:
        """Return the rows of a metric as `list_metrics` has them, those logged from `first_ms` to `last_ms` where these
        are given; None where the run has no metric of the name. A page may have fewer rows, even none, before the last;
        without `with_times` it may lack steps and times.
        """
        ...


class IncomingFile(Protocol):
    """A file on its way in, chunk by chunk, in one thread at a time; without `keep` it leaves no trace."""

    def write(self, chunk: bytes) -> None:
        """Add the next bytes."""
        ...

    def keep(self, *, md5: str | None = None, sha256: str | None = None) -> FileRecord:
        """Give it its name, replacing what was there. Raises TransferBroken for a `sha256` (hex) not the content's.

        `md5` (hex) is recorded as it is given.
        """
        ...

    def close(self) -> None:
        """Drop what wasn't kept. Calling it again does nothing."""
        ...


class IncomingBlock(Protocol):
    """A block of a file on its way in, chunk by chunk, in one thread at a time; without `keep` it leaves no trace."""

    def write(self, chunk: bytes) -> None:
        """Add the next bytes. Raises TransferBroken for more than were announced."""
        ...

    def keep(self) -> None:
        """Make it one of the blocks that `commit_blocks` can name. Raises TransferBroken where it isn't whole."""
        ...

    def close(self) -> None:
        """Drop what wasn't kept. Calling it again does nothing."""
        ...


class Files(CommonFiles, Protocol):
    """Files of containers. A container is what `records.locations` names: a run's files, or a logged model's."""

    def begin(self, container: str, path: str, *, content_type: str | None = None) -> IncomingFile:
        """Begin to receive a file in chunks; close it in any case."""
        ...

    def begin_block(
        self, container: str, path: str, block_id: str, size_bytes: int, *, offset: int | None = None
    ) -> IncomingBlock:
        """Begin to receive one block of a file; close it in any case. `block_id` is Base64, of at most 64 bytes.

        Blocks wait to be committed, for a day at least, also when this process ends. A block replaces one of its id.
        `offset` says where in the file it will be, which spares copying where blocks arrive out of order.
        """
        ...

    def list_blocks(self, container: str, path: str) -> list[tuple[str, int]]:
        """Return `(block_id, size_bytes)` of the blocks that wait to be committed, in the order of their arrival."""
        ...

    def commit_blocks(
        self,
        container: str,
        path: str,
        block_ids: Sequence[str],
        *,
        content_type: str | None = None,
        md5: str | None = None,
        sha256: str | None = None,
    ) -> FileRecord:
        """Make a file of these blocks in this order, replacing what was there, and drop the file's other blocks.

        The same list again within a day, when its blocks are gone for that reason, gives the same file, from another
        process too. Raises NotFound for a block that isn't there; TransferBroken, dropping all blocks, for a `sha256`
        that is not the content's.
        """
        ...

    def discard_blocks(self, container: str, path: str) -> None:
        """Drop the blocks that wait to be committed."""
        ...

    def open_record(self, container: str, path: str) -> tuple[FileRecord, BinaryIO]:
        """Open a file for reading, with the record of just this content. Raises NotFound."""
        ...

    def list_folder(self, container: str, folder: str = "") -> list[FileListing]:
        """Return the folder's immediate children by name; empty for a folder that doesn't exist."""
        ...

    def name_again(self, container: str, items: Sequence[tuple[str, str, str]]) -> None:
        """Give files that are there a name more each: `(path, their container, their path)`. Raises NotFound."""
        ...

    def delete(self, container: str, path: str = "") -> int:
        """Delete a file, or a folder with all that is under it, and return how many files went."""
        ...


class LoggedModels(CommonLoggedModels, Protocol):
    """Models logged by runs, and the search of them."""

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: Filter = NO_FILTER,
        datasets: Sequence[tuple[str, str | None]] = (),
        order_by: Sequence[OrderTerm] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[LoggedModelRecord]:
        """Return a page of logged models; `datasets` are (name, digest) pairs that metric filters are about."""
        ...


class Models(CommonModels, Protocol):
    """Registered models and their versions. Prompts are models with MLflow's prompt tag."""

    def create(
        self,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        deployment_job_id: str | None = None,
    ) -> ModelRecord:
        """Register a name. Raises AlreadyExists."""
        ...

    def get(self, name: str) -> ModelRecord:
        """Return a registered model."""
        ...

    def search(
        self,
        *,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[ModelRecord]:
        """Return a page of models by name; prompts only where the filter asks for the prompt tag."""
        ...

    def create_version(
        self,
        name: str,
        source: str,
        *,
        storage_location: str | None = None,
        run_id: str | None = None,
        run_link: str | None = None,
        description: str | None = None,
        user_id: str | None = None,
        model_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        """Add the next version of a model. `storage_location` is where the files really are, `source` by default.

        Raises PathUnsafe for a source that names this machine's files rather than a stored object.
        """
        ...

    def search_versions(
        self,
        *,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 10_000,
        page_token: str | None = None,
    ) -> Page[ModelVersionRecord]:
        """Return a page of versions by model name, the newest first."""
        ...

    def update(self, name: str, *, description: str | None, deployment_job_id: str | None = None) -> ModelRecord:
        """Set the description, and the deployment job where one is given."""
        ...

    def rename(self, name: str, new_name: str) -> ModelRecord:
        """Rename a model with its versions. Raises AlreadyExists."""
        ...

    def delete(self, name: str) -> None:
        """Delete a model with all its versions, tags and aliases, for good; the files they point to stay."""
        ...

    def set_tag(self, name: str, tag: str, value: str) -> None:
        """Set a model's tag."""
        ...

    def delete_tag(self, name: str, tag: str) -> None:
        """Delete a model's tag; nothing happens where there is none."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, taking it from the one it was at."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; nothing happens where there is none."""
        ...

    def get_version_by_alias(self, name: str, alias: str) -> ModelVersionRecord:
        """Return the version that an alias points at."""
        ...

    def latest_versions(self, name: str, stages: Sequence[str] = ()) -> list[ModelVersionRecord]:
        """Return the newest version of each stage, or of the stages named."""
        ...

    def update_version(self, name: str, version: int, *, description: str | None) -> ModelVersionRecord:
        """Set a version's description."""
        ...

    def set_stage(self, name: str, version: int, stage: str, *, archive_existing: bool = False) -> ModelVersionRecord:
        """Move a version to a stage; `archive_existing` sends the others of that stage to Archived."""
        ...


class Trash(Protocol):
    """What is deleted and can still be restored."""

    def list_deleted(self, *, older_than_ms: int = 0) -> TrashContents:
        """Return what was deleted at least that long ago."""
        ...

    def empty(self, contents: TrashContents) -> int:
        """Delete these for good, with their metrics and files, and return the bytes of disk given back.

        With them go uploads that no model version is of, a day after their last file came. What was restored since it
        was listed is left alone.
        """
        ...


class Keys(Protocol):
    """Keys of a service over this workspace. Only their hashes are here."""

    def add(self, key: KeyRecord) -> None:
        """Add a key. Raises AlreadyExists for an id or an active key's name that is there."""
        ...

    def find(self, key_id: str) -> KeyRecord | None:
        """Return a key, revoked ones too, or None."""
        ...

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys, revoked ones too, the oldest first."""
        ...

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; nothing happens where it is revoked. Raises NotFound."""
        ...


class RecordStore(CommonStore, Protocol):
    """A workspace's run records, by topic. Safe across threads; a forked child gets its own connections."""

    @property
    def workspace_id(self) -> str:
        """The workspace's own id, which stays with its records wherever they go."""
        ...

    @property
    def experiments(self) -> Experiments: ...

    @property
    def runs(self) -> Runs: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def files(self) -> Files: ...

    @property
    def logged_models(self) -> LoggedModels: ...

    @property
    def models(self) -> Models: ...

    @property
    def trash(self) -> "Trash": ...

    @property
    def keys(self) -> Keys: ...

    def transaction(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """Make the calls in the block one transaction, durable when it ends; each call is still whole or absent.

        For short writes of records: other writers wait meanwhile. Files can't be written or deleted in it. Without
        `wait`, WorkspaceBusy is raised at once where anybody else is writing.
        """
        ...

    def once(self, request_id: str, apply: Callable[[], bytes]) -> bytes:
        """Call `apply` in a transaction and return its answer, or the answer of the time before for a known id.

        The id and the answer are remembered in the same transaction, for at least a day.
        """
        ...

    def forget_old_requests(self) -> None:
        """Forget the ids that `once` has remembered for more than a day."""
        ...
