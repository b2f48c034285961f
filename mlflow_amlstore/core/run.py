"""`Run`: one execution and its record, with the logging calls of Azure ML's SDK.

The argument names, defaults and return shapes are those of `azureml.core.Run`, whose scripts run on it unchanged.
"""

import getpass
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mlflow_amlstore.core.display import facts_table
from mlflow_amlstore.core.named_texts import names_of, texts_of, wanted_texts
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.open_run import PathText
from mlflow_amlstore.core.run_files import RunFiles
from mlflow_amlstore.core.run_metrics import RunMetrics
from mlflow_amlstore.core.snapshots import SnapshotEmpty, store_snapshot
from mlflow_amlstore.errors import AmlStoreError, InvalidState, InvalidValue, NotFound, NotSupported
from mlflow_amlstore.protocol.times import iso_time_or_none
from mlflow_amlstore.records.status import ENDED, status_from_azure
from mlflow_amlstore.records.types import (
    DESCRIPTION_TAG,
    RUN_TYPE_PROPERTY,
    SNAPSHOT_PROPERTY,
    RunError,
    RunFilter,
    RunRecord,
    RunStatus,
)
from mlflow_amlstore.records.validation import check_integer

if TYPE_CHECKING:
    from mlflow_amlstore.core.experiment import Experiment
    from mlflow_amlstore.core.workspace import Workspace

_logger = logging.getLogger(__name__)

_PAGE = 500
_Runs = list["Run"]
_CHILD_NUMBER_TAG = "azureml.batch_child_number"
_MAX_CHILDREN_AT_ONCE = 100
_POLL_S = (0.2, 5.0)


@names_the_missing
class Run(RunMetrics, RunFiles):
    """One execution of training code, and its record.

    Got from `experiment.start_logging()`, `Run.get_context()` in a submitted script, `Run.get(ws, run_id)` or
    `Run(experiment, run_id)`. Values are logged at once and written in groups in the background, at the latest after
    0.2 s; `flush` and `complete` wait for them, and so does reading them back through a run of this process.

    Copied, or unpickled in another process, it is the same run, opened again by its workspace and id; the outputs
    folder is looked through by the first one alone.

    >>> with experiment.start_logging(snapshot_directory=None) as run:
    ...     for error in (0.5, 0.25):
    ...         run.log("mse", error)
    >>> run.get_metrics(), run.get_status()
    ({'mse': [0.5, 0.25]}, 'Completed')
    """

    def __init__(
        self, experiment: "Experiment", run_id: str, outputs: PathText | None = None, *, synchronous: bool = False
    ) -> None:
        """Open a run of an experiment. Raises NotFound, also for a run of another experiment."""
        record = experiment.workspace.records.runs.get(run_id)
        if record.info.experiment_id != experiment.id:
            raise NotFound("run", run_id, f"It is in another experiment than {experiment.name!r}")
        self._open(experiment, record, outputs, synchronous)

    def _open(self, experiment: "Experiment", record: RunRecord, outputs: PathText | None, synchronous: bool) -> None:
        self._experiment, self._info = experiment, record.info
        self._run_type = record.properties.get(RUN_TYPE_PROPERTY)
        self._open_log(synchronous)
        self._open_outputs(outputs)

    @classmethod
    def _of(
        cls,
        experiment: "Experiment",
        record: RunRecord,
        *,
        outputs: PathText | None = None,
        synchronous: bool = False,
    ) -> "Run":
        self = cls.__new__(cls)
        self._open(experiment, record, outputs, synchronous)
        return self

    @classmethod
    def get_context(cls, allow_offline: bool = True, used_for_context_manager: bool = False, **kwargs: object) -> "Run":
        """Return the run that this process was submitted as, which its environment names; outside one, an offline run.

        An offline run prints what is logged and keeps it until the process ends: its metrics, tags, files and details
        can be read back. A worker process that is forked when there is one already has the same; any other its own.
        With `allow_offline=False`, InvalidState is raised instead. A submitted run's status is set by who submitted it,
        so completing it only waits for what was logged.

        >>> run = Run.get_context()
        >>> run.tag("stage", "warm-up")
        [offline run] tags {'stage': 'warm-up'}
        >>> run.get_tags(), run.experiment.name
        ({'stage': 'warm-up'}, 'Offline')
        """
        from mlflow_amlstore.core.run_context import run_context

        return run_context(allow_offline)

    @staticmethod
    def get(workspace: "Workspace", run_id: str) -> "Run":
        """Open a run by its id alone. Raises NotFound.

        >>> Run.get(ws, run.id).id == run.id
        True
        """
        return _run_of(workspace, workspace.records.runs.get(run_id))

    @staticmethod
    def list(
        experiment: "Experiment",
        type: str | None = None,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        status: str | None = None,
        include_children: bool = False,
    ) -> Iterator["Run"]:
        """Yield an experiment's runs, the latest started first: those that meet all that is given.

        `tags` and `properties` are a dict of what they must be, or a name that must be there; `status` is one of
        Azure ML's words, such as `Completed`.
        """
        return find_runs(
            experiment.workspace,
            experiment,
            run_type=type,
            tags=tags,
            properties=properties,
            status=status,
            include_children=include_children,
        )

    # What a run is

    @property
    def name(self) -> str:
        """Its name; `display_name` is the same."""
        return self._info.name

    @property
    def display_name(self) -> str:
        """Its name, which can be set: at most 8000 characters."""
        return self._info.name

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._info = self._records.runs.update(self.id, name=name)

    @property
    def description(self) -> str | None:
        """What it is about, which can be set; MLflow's UI shows it as the run's description."""
        return self._now().tags.get(DESCRIPTION_TAG)

    @description.setter
    def description(self, text: str) -> None:
        self._records.runs.set_tags(self.id, {DESCRIPTION_TAG: text})

    @property
    def number(self) -> int:
        """Its number in its workspace."""
        return self._info.number

    @property
    def type(self) -> str | None:
        """What made it: the property `azureml.runsource`, None for a run that was started here."""
        return self._run_type

    @property
    def status(self) -> str:
        """Its status as of now; `get_status()` is the same."""
        return self.get_status()

    @property
    def tags(self) -> dict[str, str]:
        """Its tags as of now; `get_tags()` is the same."""
        return self.get_tags()

    @property
    def properties(self) -> dict[str, str]:
        """Its properties as of now; `get_properties()` is the same."""
        return self.get_properties()

    @property
    def parent(self) -> "Run | None":
        """The run that it is a child of; None for a run of its own, and where the parent is gone."""
        if self._info.parent_run_id is None:
            return None
        try:
            return Run.get(self._experiment.workspace, self._info.parent_run_id)
        except NotFound:
            return None

    def get_status(self) -> str:
        """Return its status: NotStarted, Queued, Preparing, Starting, Running, CancelRequested, Finalizing, Completed,
        Failed or Canceled."""
        return self._now().info.status.value

    def get_details(self) -> dict[str, Any]:
        """Return what is known of it: `runId`, `target`, `status`, `startTimeUtc`, `endTimeUtc`, `properties`,
        `params` (MLflow's), `inputDatasets`, `outputDatasets`, `runDefinition`, `logFiles` (their names and addresses),
        `submittedBy`; `error` where it failed with one. Times are ISO 8601 in UTC.
        """
        record = self._now()
        info = record.info
        details: dict[str, Any] = {
            "runId": info.run_id,
            "target": "local",
            "status": info.status.value,
            "startTimeUtc": iso_time_or_none(info.start_ms),
            "endTimeUtc": iso_time_or_none(info.end_ms),
            "properties": record.properties,
            "params": record.params,
            "inputDatasets": self._records.runs.input_datasets(self.id),
            "outputDatasets": [],
            "runDefinition": {},
            "logFiles": {path: self._file_uri(path) for path in self._log_files()},
            "submittedBy": info.user_id,
        }
        if info.error is not None:
            details["error"] = {"error": {"code": info.error.code, "message": info.error.message}}
        return details

    def get_details_with_logs(self) -> dict[str, Any]:
        """Return `get_details()`, with the logs' contents in place of their addresses."""
        return {**self.get_details(), "logFiles": {path: self._log_text(path) for path in self._log_files()}}

    def get_portal_url(self) -> str:
        """Return the run's address."""
        return self._experiment.workspace.portal_url(f"experiments/{self._info.experiment_id}/runs/{self.id}")

    def __repr__(self) -> str:
        return (
            f"Run(Experiment: {self._experiment.name},\n"
            f"Id: {self.id},\nName: {self.name},\nType: {self.type},\nStatus: {self._info.status.value})"
        )

    def _repr_html_(self) -> str:
        return facts_table(
            {
                "Experiment": self._experiment.name,
                "Id": self.id,
                "Name": self.name,
                "Type": self.type,
                "Status": self.get_status(),
                "Details": self.get_portal_url(),
            }
        )

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[object, ...]]:
        return _open_again, (type(self), self._experiment.workspace, self.id, self._synchronous)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other._records is self._records

    def __hash__(self) -> int:
        return hash(self.id)

    # Tags and properties

    def tag(self, key: str, value: str | None = None) -> None:
        """Set one tag; without a value it is the empty text.

        >>> run.tag("stage", "candidate")
        >>> run.get_tags()
        {'stage': 'candidate'}
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Set several tags: names of 1 to 1000 characters, values of at most 8000; what is no string becomes one."""
        self._records.runs.set_tags(self.id, texts_of("tags", tags))

    def get_tags(self) -> dict[str, str]:
        """Return the run's tags."""
        return self._now().own_tags

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Delete tags; one that isn't there is passed over."""
        for key in names_of("tags", tags):
            try:
                self._records.runs.delete_tag(self.id, key)
            except NotFound as error:
                if error.kind != "tag":
                    raise

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add properties, which stay as they are: names of 1 to 1000 characters, values of at most 8000.

        Raises Changed for one that is there with another value; none is added then.

        >>> run.add_properties({"build": "1234"})
        >>> run.get_properties()["build"]
        '1234'
        """
        self._records.runs.add_properties(self.id, texts_of("properties", properties))

    def get_properties(self) -> dict[str, str]:
        """Return the run's properties."""
        return self._now().properties

    # The course of a run

    def start(self) -> None:
        """Mark it Running; a run that has ended stays as it is."""
        if self._now().info.status not in ENDED:
            self._set_status(RunStatus.RUNNING)

    def complete(self, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Completed.

        A completed run still takes values: what is logged late is kept. Raises what `flush` does, with the run
        Completed all the same.
        """
        self._end(partial(self._set_status, RunStatus.COMPLETED) if _set_status else None)

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Failed, with why: a text or an exception."""
        error = None
        if error_details is not None or error_code is not None:
            is_exception = isinstance(error_details, BaseException)
            message = repr(error_details) if is_exception else str(error_details or "")
            error = RunError(error_code or "UserError", message)
        self._end(partial(self._set_status, RunStatus.FAILED, error) if _set_status else None)

    def cancel(self) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Canceled."""
        self._end(partial(self._set_status, RunStatus.CANCELED))

    def _end(self, set_status: Callable[[], None] | None) -> None:
        """Write what waits, upload the outputs and set the status: each whatever becomes of what is before it."""
        with ExitStack() as ending:
            if set_status is not None:
                ending.callback(set_status)
            ending.callback(self._upload_outputs)
            self.flush()

    def _set_status(self, status: RunStatus, error: RunError | None = None) -> None:
        now = time.time_ns() // 1_000_000
        begins = status is RunStatus.RUNNING and self._info.start_ms is None
        self._info = self._records.runs.update(
            self.id,
            status=status,
            start_ms=now if begins else None,
            end_ms=now if status in ENDED else None,
            error=error,
        )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Complete the run; one that was ended before, by the block's own `complete`, `fail` or `cancel` or by anybody
        else, stays so.

        Where an exception leaves the block, whatever it did, the run is Failed with that; `sys.exit()` without a code
        is no failure. What goes wrong while the run is marked so is a warning: the block's exception goes on up.
        """
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self._end(self._complete_unless_ended)
            return
        try:
            self._end(partial(self._set_status, RunStatus.FAILED, RunError(type(error).__name__, str(error))))
        except Exception as while_failing:
            _logger.warning("Run %s could not be ended as it should be: %s", self.id, while_failing)

    def _complete_unless_ended(self) -> None:
        if self._now().info.status not in ENDED:
            self._set_status(RunStatus.COMPLETED)

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until the run has ended and return its details.

        Raises InvalidState with its error where it failed or was cancelled, unless `raise_on_error` is False.
        """
        if show_output:
            raise NotSupported("Streaming a run's logs", "Read them with get_details_with_logs()")
        pause_s, longest_s = _POLL_S
        while RunStatus(self.get_status()) not in ENDED:
            time.sleep(pause_s)
            pause_s = min(longest_s, pause_s * 1.5)
        if raise_on_error and self._info.status is not RunStatus.COMPLETED:
            why = f": {self._info.error.message}" if self._info.error else ""
            raise InvalidState(f"Run {self.id} is {self._info.status.value}{why}")
        return self.get_details()

    # Child runs

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: PathText | None = None) -> "Run":
        """Start a child run; use it in a `with` block, or `complete` it.

        >>> with run.child_run("fold 1") as child:
        ...     child.log("mse", 0.5)
        >>> [child.name for child in run.get_children()]
        ['fold 1']
        """
        return start_run(
            self._experiment,
            run_id=run_id,
            name=name,
            outputs=outputs,
            parent_run_id=self.id,
            synchronous=self._synchronous,
        )

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[object] | None = None
    ) -> _Runs:
        """Start child runs: `count` of them, or one for each of `tag_values` under `tag_key`; at most 100.

        Raises InvalidValue.
        """
        if (count is None) == (tag_key is None or tag_values is None):
            raise InvalidValue("count", count, "give either count, or tag_key and tag_values")
        if count is not None:
            values: Sequence[object] = range(check_integer("count", count, minimum=0))
        elif isinstance(tag_values, Iterable):
            values = list(tag_values)
        else:
            raise InvalidValue("tag_values", tag_values, "must be a list of values")
        if len(values) > _MAX_CHILDREN_AT_ONCE:
            raise InvalidValue("number of children", len(values), f"at most {_MAX_CHILDREN_AT_ONCE} at once")
        key = _CHILD_NUMBER_TAG if tag_key is None else tag_key
        records = self._records.runs.create_children(
            self._info, [{key: str(value)} for value in values], user_id=_user(), start_ms=time.time_ns() // 1_000_000
        )
        return [Run._of(self._experiment, record, synchronous=self._synchronous) for record in records]

    def submit_child(self, config: object, tags: Mapping[str, str] | None = None, **arguments: object) -> "Run":
        """Submit a script as a child run: not yet."""
        raise NotSupported("Submitting runs", "Start a child run with child_run()")

    def get_children(
        self,
        recursive: bool = False,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Iterator["Run"]:
        """Yield the run's children, or with `recursive` all its descendants, the latest started first: those that meet
        all that is given, as in `Run.list`."""
        return find_runs(
            self._experiment.workspace,
            None,
            parent_run_id=self.id,
            recursive=recursive,
            run_type=type,
            tags=tags,
            properties=properties,
            status=status,
        )


def start_run(
    experiment: "Experiment",
    *,
    run_id: str | None = None,
    name: str | None = None,
    outputs: PathText | None = None,
    snapshot_directory: PathText | None = None,
    parent_run_id: str | None = None,
    synchronous: bool = False,
) -> Run:
    """Make a run that starts now."""
    properties = {} if snapshot_directory is None else _snapshot_property(experiment, Path(snapshot_directory))
    record = experiment.workspace.records.runs.create(
        experiment.id,
        run_id=run_id,
        name=name,
        user_id=_user(),
        status=RunStatus.RUNNING,
        start_ms=time.time_ns() // 1_000_000,
        parent_run_id=parent_run_id,
        properties=properties,
    )
    return Run._of(experiment, record, outputs=outputs, synchronous=synchronous)


def _snapshot_property(experiment: "Experiment", folder: Path) -> dict[str, str]:
    """A snapshot of the folder, the current one by default, which may hold anything: without it the run starts, too."""
    if not folder.exists():
        raise InvalidValue("snapshot_directory", str(folder), "is neither a file nor a folder")
    try:
        return {SNAPSHOT_PROPERTY: store_snapshot(experiment.workspace.records, folder)}
    except SnapshotEmpty:
        return {}
    except (AmlStoreError, OSError) as error:
        _logger.warning("The run starts without a snapshot. %s", error)
        return {}


def find_runs(
    workspace: "Workspace",
    experiment: "Experiment | None",
    *,
    parent_run_id: str | None = None,
    recursive: bool = False,
    include_children: bool = False,
    run_type: str | None = None,
    tags: str | Mapping[str, str | None] | None = None,
    properties: str | Mapping[str, str | None] | None = None,
    status: str | None = None,
) -> Iterator[Run]:
    """The runs of an experiment, or below a run, that meet all that is given. Raises InvalidValue at the call."""
    filter = RunFilter(
        parent_run_id=parent_run_id,
        recursive=recursive,
        include_children=include_children,
        run_type=run_type,
        tags=wanted_texts("tags", tags),
        properties=wanted_texts("properties", properties),
        status=None if status is None else status_from_azure(status),
    )
    return _find_runs(workspace, experiment, filter)


def _find_runs(workspace: "Workspace", experiment: "Experiment | None", filter: RunFilter) -> Iterator[Run]:
    """Page by page, and each experiment once."""
    experiment_id = None if experiment is None else experiment.id
    experiments = {} if experiment is None else {experiment.id: experiment}
    token = None
    while True:
        page = workspace.records.runs.find(filter, experiment_id=experiment_id, max_results=_PAGE, page_token=token)
        for record in page.items:
            where = record.info.experiment_id
            if where not in experiments:
                experiments[where] = _experiment_of(workspace, record)
            yield Run._of(experiments[where], record)
        token = page.next_token
        if token is None:
            return


def _open_again(kind: type[Run], workspace: "Workspace", run_id: str, synchronous: bool) -> Run:
    """A run that was pickled or copied."""
    record = workspace.records.runs.get(run_id)
    return kind._of(_experiment_of(workspace, record), record, synchronous=synchronous)


def _run_of(workspace: "Workspace", record: RunRecord) -> Run:
    return Run._of(_experiment_of(workspace, record), record)


def _experiment_of(workspace: "Workspace", record: RunRecord) -> "Experiment":
    from mlflow_amlstore.core.experiment import Experiment

    return Experiment._of(workspace, workspace.records.experiments.get(record.info.experiment_id))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else ""
