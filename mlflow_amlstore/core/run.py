"""`Run`: one execution and its record, with the logging calls of Azure ML's SDK.

The argument names, defaults and return shapes are those of `azureml.core.Run`, whose scripts run on it unchanged.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from mlflow_amlstore.core.display import MAX_ROWS, facts_table, line_charts, rest_of, table
from mlflow_amlstore.core.growing_logs import print_until_its_end, wait_for_end
from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.core.open_run import Offline
from mlflow_amlstore.core.run_facts import RunFacts
from mlflow_amlstore.core.run_files import RunFiles
from mlflow_amlstore.core.run_metrics import RunMetrics
from mlflow_amlstore.core.sparkline import sparkline_of
from mlflow_amlstore.errors import ActivityFailed, InvalidValue, NotFound
from mlflow_amlstore.protocol.metric_charts import chart_of
from mlflow_amlstore.protocol.times import iso_time_or_none
from mlflow_amlstore.records.common_store import CommonRuns
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import LOCAL_TARGET, RUN_TYPE_PROPERTY, RunError, RunInfo, RunRecord, RunStatus
from mlflow_amlstore.records.validation import check_integer

if TYPE_CHECKING:
    from mlflow_amlstore.core.experiment import Experiment
    from mlflow_amlstore.core.workspace import Workspace

_logger = logging.getLogger(__name__)

Runs = list["Run"]  # for classes in which `list` is a method
_StatusSetter = Callable[[CommonRuns, RunInfo, RunStatus, RunError | None], RunInfo]
_CHILD_NUMBER_TAG = "azureml.batch_child_number"
_MAX_CHILDREN_AT_ONCE = 100
_DRAWN_WIDTH = 40  # of a line of characters
_MAX_CHARTS = 6
_CHART_COLUMNS = 120


def set_status(runs: CommonRuns, info: RunInfo, status: RunStatus, error: RunError | None) -> RunInfo:
    """Write a run's status and the times that go with it; return the run as it is then."""
    now = time.time_ns() // 1_000_000
    begins = status is RunStatus.RUNNING and info.start_ms is None
    return runs.update(
        info.run_id,
        status=status,
        start_ms=now if begins else None,
        end_ms=now if status in ENDED else None,
        error=error,
        in_this_process=True,
    )


@names_the_missing
class Run(RunFacts, RunMetrics, RunFiles):
    """One execution of training code, and its record.

    Get one from `experiment.start_logging()`, `Run.get_context()` in a submitted script, `Run.get(ws, run_id)` or
    `Run(experiment, run_id)`. Logging calls return at once, and a thread writes the values in groups, at most 0.2 s
    later. `flush` and `complete` wait for it, and so does reading metrics in this process.

    A copied or unpickled run is the same run, opened again by its workspace and id. Only the original uploads its
    outputs folder.

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
        self._open(experiment, record, outputs, synchronous, set_status, None)

    def _open(
        self,
        experiment: "Experiment",
        record: RunRecord,
        outputs: PathText | None,
        synchronous: bool,
        status_setter: _StatusSetter,
        offline: Offline | None,
    ) -> None:
        self._experiment, self._info = experiment, record.info
        self._run_type = record.properties.get(RUN_TYPE_PROPERTY)
        self._status_setter, self._offline = status_setter, offline
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
        status_setter: _StatusSetter = set_status,
        offline: Offline | None = None,
    ) -> "Run":
        """Open a run by its record. `status_setter` writes its status."""
        of = cls._kinds.get(record.properties.get(RUN_TYPE_PROPERTY, ""), cls) if offline is None else OfflineRun
        self = of.__new__(of)
        self._open(experiment, record, outputs, synchronous, status_setter, offline)
        return self

    @classmethod
    def _by_id(
        cls,
        workspace: "Workspace",
        run_id: str,
        synchronous: bool = False,
        status_setter: _StatusSetter = set_status,
        offline: Offline | None = None,
    ) -> "Run":
        record = workspace.records.runs.get(run_id)
        experiment = workspace._experiment(record.info.experiment_id)
        return cls._of(experiment, record, synchronous=synchronous, status_setter=status_setter, offline=offline)

    _kinds: ClassVar[dict[str, type["Run"]]] = {}
    """The classes of runs that are more than a run, by what made them: the property `azureml.runsource`."""

    _find_context: ClassVar[Callable[[bool], "Run"]]
    """`run_context.run_context`, which opens workspaces and so can't be imported here; `core/__init__.py` sets it."""

    @classmethod
    def get_context(cls, allow_offline: bool = True, used_for_context_manager: bool = False, **kwargs: object) -> "Run":
        """Return the run that this process was submitted as, which its environment names; else an offline run.

        An offline run prints what is logged. Where config.json names a workspace's folder it is a run of the experiment
        `Offline` there; a broken config.json or workspace raises its error. Elsewhere it keeps its metrics, tags, files
        and details until the process ends, and its `experiment` is an AttributeError, as in Azure ML's SDK. A worker
        that is forked later shares it; a spawned one gets its own. With `allow_offline=False`, InvalidState is raised
        instead.

        A submitted run's status is set by its launcher; `complete` only waits for what was logged.

        >>> run = Run.get_context()
        >>> run.tag("stage", "warm-up")
        [offline run] tags {'stage': 'warm-up'}
        >>> run.get_tags()
        {'stage': 'warm-up'}
        """
        return Run._find_context(allow_offline)

    @staticmethod
    def get(workspace: "Workspace", run_id: str) -> "Run":
        """Open a run by its id alone. Raises NotFound.

        >>> Run.get(ws, run.id).id == run.id
        True
        """
        return workspace.get_run(run_id)

    @staticmethod
    def list(
        experiment: "Experiment",
        type: str | None = None,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        status: str | None = None,
        include_children: bool = False,
    ) -> Iterator["Run"]:
        """Yield the runs of an experiment that match all arguments, the latest started first.

        `tags` and `properties` are a name that must be set, or a dict of names and values. `status` is one of Azure
        ML's words, such as `Completed`.
        """
        return experiment._find_runs(
            run_type=type,
            tags=tags,
            properties=properties,
            status=status,
            include_children=include_children,
        )

    # What a run is

    @property
    def parent(self) -> "Run | None":
        """The parent run; None if there is none, or if it is gone."""
        if self._info.parent_run_id is None:
            return None
        try:
            return self._experiment.workspace.get_run(self._info.parent_run_id)
        except NotFound:
            return None

    def get_details(self) -> dict[str, Any]:
        """Return the run's details: `runId`, `target`, `status`, `startTimeUtc`, `endTimeUtc`, `properties`,
        `params` (MLflow's), `inputDatasets`, `outputDatasets`, `runDefinition`, `logFiles` (their names and addresses),
        `submittedBy`; `error` where it failed with one. Times are ISO 8601 in UTC.
        """
        record = self._now()
        info = record.info
        details: dict[str, Any] = {
            "runId": info.run_id,
            "target": LOCAL_TARGET,
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
        record = self._records.runs.whole(self.id)
        facts = {
            "Experiment": self._experiment.name,
            "Id": self.id,
            "Name": record.info.name,
            "Type": self.type,
            "Status": record.info.status.value,
        }
        if self._experiment.workspace._has_pages:
            facts["Details"] = self.get_portal_url()
        shown = [facts_table(facts)]
        if record.params:
            params = [*list(record.params.items())[:MAX_ROWS], *rest_of(record.params, "params")]
            shown.append(table(["Param", "Value"], params))
        if record.metrics:
            names = [point.name for point in record.metrics[:MAX_ROWS]]
            series = self._records.metrics.curves_of_run(self.id, names, columns=_CHART_COLUMNS)
            drawn = {each.name: each for each in series if each.curve.points_in_all > 1}
            lines = {name: sparkline_of(each.curve, _DRAWN_WIDTH) for name, each in drawn.items()}
            metrics = [(point.name, point.value, lines.get(point.name)) for point in record.metrics[:MAX_ROWS]]
            shown.append(table(["Metric", "Latest", ""], [*metrics, *rest_of(record.metrics, "metrics")]))
            charts = {n: each.curve for n, each in drawn.items() if chart_of(n, each.kind, [each]).kind == "line"}
            if charts:
                shown.append(line_charts(dict(islice(charts.items(), _MAX_CHARTS))))
        return "".join(shown)

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[object, ...]]:
        workspace = self._experiment.workspace
        return type(self)._by_id, (workspace, self.id, self._synchronous, self._status_setter, self._offline)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other._records is self._records

    def __hash__(self) -> int:
        return hash(self.id)

    # The course of a run

    def start(self) -> None:
        """Mark it Running; a run that has ended stays as it is."""
        if self._now().info.status not in ENDED:
            self._set_status(RunStatus.RUNNING)

    def complete(self, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Completed.

        Values that are logged later are kept, too. Raises what `flush` raises; the run is Completed even then.
        """
        self._end(partial(self._set_status, RunStatus.COMPLETED) if _set_status else None)

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Failed.

        `error_details` is a text or an exception.
        """
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
        """Write what waits, upload the outputs and set the status. Each step runs even if the one before it fails."""
        with ExitStack() as ending:
            if set_status is not None:
                ending.callback(set_status)
            ending.callback(self._upload_outputs)
            self.flush()

    def _set_status(self, status: RunStatus, error: RunError | None = None) -> None:
        self._info = self._status_setter(self._records.runs, self._info, status, error)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Complete the run, unless it has ended already.

        If an exception leaves the block, the run is Failed with it, even if it has ended; `sys.exit()` without a code
        is no failure. An error while the run is marked Failed is a warning: the block's exception goes on.
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
        """Wait until the run has ended and return its details; with `show_output`, print its logs as they grow.

        Raises ActivityFailed with the run's error if it failed, unless `raise_on_error` is False. A canceled run raises
        nothing, as in the SDK.
        """
        if show_output:
            print_until_its_end(self)
        else:
            wait_for_end(self)
        details = self.get_details()
        if raise_on_error and details["status"] == RunStatus.FAILED.value:
            raise ActivityFailed(self.id, details.get("error"))
        return details

    # Child runs

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: PathText | None = None) -> "Run":
        """Start a child run; use it in a `with` block, or `complete` it.

        >>> with run.child_run("fold 1") as child:
        ...     child.log("mse", 0.5)
        >>> [child.name for child in run.get_children()]
        ['fold 1']
        """
        return self._experiment._start_run(
            run_id=run_id,
            name=name,
            outputs=outputs,
            parent_run_id=self.id,
            synchronous=self._synchronous,
            offline=self._offline,
        )

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[object] | None = None
    ) -> Runs:
        """Start `count` child runs, or one for each of `tag_values` with that tag under `tag_key`; at most 100.

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
        tags = [{key: str(value)} for value in values]
        return self._experiment._start_children(self._info, tags, self._synchronous, self._offline)

    def submit_child(self, config: object, tags: Mapping[str, str] | None = None, **arguments: Any) -> "Run":
        """Submit a script as a child run; see `Experiment.submit`."""
        return self._experiment.submit(config, tags, _parent_run_id=self.id, **arguments)

    def get_children(
        self,
        recursive: bool = False,
        tags: str | Mapping[str, str | None] | None = None,
        properties: str | Mapping[str, str | None] | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Iterator["Run"]:
        """Yield the run's children that match all arguments, as in `Run.list`, the latest started first.

        With `recursive`, yield all its descendants that do.
        """
        return self._experiment._find_runs(
            parent_run_id=self.id,
            recursive=recursive,
            run_type=type,
            tags=tags,
            properties=properties,
            status=status,
        )


class OfflineRun(Run):
    """A run of a process that wasn't submitted: scripts of Azure ML's SDK ask whether theirs is one."""
