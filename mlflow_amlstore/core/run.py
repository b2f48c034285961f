"""`Run`: one execution and its record, with the logging calls of Azure ML's SDK.

The argument names, defaults and return shapes are those of `azureml.core.Run`, whose scripts run on it unchanged.
"""

import getpass
import io
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from mlflow_amlstore.core.buffered_log import buffered_log
from mlflow_amlstore.core.cells import as_cell, as_cells, as_columns
from mlflow_amlstore.core.display import facts_table, iso_time
from mlflow_amlstore.core.images import image_of
from mlflow_amlstore.core.metric_schemas import checked_document
from mlflow_amlstore.core.model import Model, register_run_model
from mlflow_amlstore.core.snapshots import SnapshotTooLarge, store_snapshot
from mlflow_amlstore.errors import AmlStoreError, InvalidState, InvalidValue, NotFound, NotSupported
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.logged_values import check_logged_values
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    RUN_TYPE_PROPERTY,
    SNAPSHOT_PROPERTY,
    Cell,
    LoggedValues,
    MetricKind,
    MetricRecord,
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

PathText = str | PathLike[str]
_PAGE = 500
_DESCRIPTION_TAG = "mlflow.note.content"
_UNSAFE_IN_FILE_NAME = re.compile(r"[^\w.\- ]")
_Runs = list["Run"]
_Texts = list[str]
_CHILD_NUMBER_TAG = "azureml.batch_child_number"
_MIRROR_TAGS = ("mlflow.runName", "mlflow.parentRunId")  # of the run's own facts, for MLflow's sake
_LOG_FOLDERS = ("user_logs", "logs", "azureml-logs", "system_logs")
_ENDED = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED}
_MAX_CHILDREN_AT_ONCE = 100
_MAX_NAME_BYTES = 150  # of a metric's name in its file's name
_POLL_S = (0.2, 5.0)
_SCALAR = MetricKind.SCALAR


class Run:
    """One execution of training code, and its record.

    Got from `experiment.start_logging()`, `Run.get_context()` in a submitted script, `Run.get(ws, run_id)` or
    `Run(experiment, run_id)`. Values are logged at once and written in groups in the background, at the latest after
    0.2 s; `flush` and `complete` wait for them, and so does reading them back through a run of this process.

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
        self._outputs, self._opened_s = outputs, time.time()
        self._synchronous = synchronous
        self._log = buffered_log(self._records.metrics, record.info.run_id)
        self._checked_names: set[str] = set()

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
        can be read back. With `allow_offline=False`, InvalidState is raised instead. A submitted run's status is set
        by who submitted it, so completing it only waits for what was logged.

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

    @property
    def _records(self) -> CommonStore:
        return self._experiment.workspace.records

    @property
    def _container(self) -> str:
        return run_container(self._info.experiment_id, self._info.run_id)

    def _now(self) -> RunRecord:
        record = self._records.runs.get(self.id)
        self._info = record.info
        return record

    # What a run is

    @property
    def experiment(self) -> "Experiment":
        """The experiment that it is in."""
        return self._experiment

    @property
    def id(self) -> str:
        """Its id, the one that MLflow knows it by."""
        return self._info.run_id

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
        return self._now().tags.get(_DESCRIPTION_TAG)

    @description.setter
    def description(self, text: str) -> None:
        self._records.runs.set_tags(self.id, {_DESCRIPTION_TAG: text})

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
            "startTimeUtc": iso_time(info.start_ms),
            "endTimeUtc": iso_time(info.end_ms),
            "properties": record.properties,
            "params": record.params,
            "inputDatasets": [{"name": used.dataset.name, "digest": used.dataset.digest} for used in record.datasets],
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

    def get_all_logs(self, destination: PathText | None = None) -> _Texts:
        """Download the run's logs into a folder (`./assets/RUN_ID` by default) and return the files' paths."""
        folder = Path("assets", self.id) if destination is None else Path(destination)
        paths = self._log_files()
        return [str(self._download(path, folder / path)) for path in paths]

    def _log_files(self) -> _Texts:
        files = self._records.files
        return [file.path for folder in _LOG_FOLDERS for file in files.list_all(self._container, folder)]

    def _log_text(self, path: str) -> str:
        with self._records.files.open(self._container, path) as source:
            return source.read().decode(errors="replace")

    def get_portal_url(self) -> str:
        """Return the run's address."""
        return self._experiment.workspace.portal_url(f"experiments/{self._info.experiment_id}/runs/{self.id}")

    def get_snapshot_id(self) -> str | None:
        """Return the id of the snapshot that the run has; None where it has none."""
        return self._now().properties.get(SNAPSHOT_PROPERTY)

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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other._records is self._records

    def __hash__(self) -> int:
        return hash(self.id)

    # Logging values

    def log(self, name: str, value: object, description: str = "", step: int | None = None) -> None:
        """Log a number, boolean or string; under a name logged before, the metric becomes a vector.

        NumPy's and pandas' scalars and one-element arrays and tensors are taken for what they hold. `step` is a 64-bit
        integer (NumPy's too), the value's position in the metric by default. MLflow sees numbers and booleans as a
        metric. `description` is taken for old scripts' sake and not kept. Raises InvalidValue for any other value, for
        a name that is empty or over 1000 characters, or is already another kind of metric.

        >>> run.log("accuracy", 0.9)
        >>> run.log("stage", "warm-up")
        >>> run.get_metrics("accuracy")
        {'accuracy': 0.9}
        """
        if type(value) is not float:
            value = as_cell(f"metric {name!r}", value)
        if step is not None and type(step) is not int:
            step = check_integer(f"step of metric {name!r}", step)
        logged = (name, _SCALAR, value, step, time.time_ns() // 1_000_000)
        if step is not None or type(value) is not float or type(name) is not str or name not in self._checked_names:
            self._check(logged)
        if self._synchronous:
            self._records.metrics.log_values(self.id, [logged])
        else:
            self._log.add(logged)

    def log_list(self, name: str, value: Iterable[object], description: str = "") -> None:
        """Log several numbers or strings at once, of any iterable, generators and arrays of one dimension too.

        MLflow sees the numbers as a history by position. Logged again, the list goes on.

        >>> run.log_list("fibonacci", (n for n in [1, 1, 2, 3]))
        >>> run.get_metrics("fibonacci")
        {'fibonacci': [1, 1, 2, 3]}
        """
        self._add(name, MetricKind.LIST, {"": as_cells(f"metric {name!r}", value)})

    def log_row(self, name: str, description: str | None = None, **kwargs: object) -> None:
        """Log a value for each of several columns: once it is a tuple, in a loop a table.

        MLflow sees each numeric column as the history `name.column`.

        >>> for angle in (0, 90):
        ...     run.log_row("rotation", angle=angle, error=angle / 100)
        >>> run.get_metrics("rotation")
        {'rotation': {'angle': [0, 90], 'error': [0.0, 0.9]}}
        """
        cells: dict[str, Sequence[Cell]] = {
            column: [value if type(value) is float else as_cell(f"metric {name!r}, column {column!r}", value)]
            for column, value in kwargs.items()
        }
        self._add(name, MetricKind.ROW, cells)

    def log_table(self, name: str, value: Mapping[str, Iterable[object]], description: str = "") -> None:
        """Log columns of equal length by name, of a dict or a data frame. Logged again, the table goes on.

        >>> run.log_table("squares", {"x": [1, 2, 3], "y": [1, 4, 9]})
        >>> run.get_metrics("squares")
        {'squares': {'x': [1, 2, 3], 'y': [1, 4, 9]}}
        """
        self._add(name, MetricKind.TABLE, as_columns(f"metric {name!r}", value))

    def log_image(
        self, name: str, path: PathText | BinaryIO | None = None, plot: object = None, description: str = ""
    ) -> None:
        """Log an image: `path` is a file or a stream of bytes, `plot` matplotlib's `plt` or a figure, saved as PNG.

        The image is a file of the run, which MLflow's UI shows; the metric's value is its address. Raises
        InvalidValue for a file that can't be read.
        """
        content, ending = image_of(f"image {name!r}", path, plot)
        with content:
            self._add_file(name, MetricKind.IMAGE, content, ending)

    def log_confusion_matrix(self, name: str, value: object, description: str = "") -> None:
        """Log a confusion matrix, of a dict or a JSON text; it becomes a file of the run.

        >>> run.log_confusion_matrix("confusion", {
        ...     "schema_type": "confusion_matrix", "schema_version": "1.0.0",
        ...     "data": {"class_labels": ["cat", "dog"], "matrix": [[8, 2], [1, 9]]},
        ... })
        """
        self._add_document(name, MetricKind.CONFUSION_MATRIX, value)

    def log_accuracy_table(self, name: str, value: object, description: str = "") -> None:
        """Log an accuracy table, of a dict or a JSON text: for each class and threshold the true positives, false
        positives, true negatives and false negatives. `probability_tables` and `percentile_tables` have the shape
        [classes, thresholds, 4]. It becomes a file of the run.

        >>> run.log_accuracy_table("accuracy table", {
        ...     "schema_type": "accuracy_table", "schema_version": "1.0.1",
        ...     "data": {
        ...         "probability_tables": [[[4, 6, 0, 0], [0, 0, 6, 4]]], "probability_thresholds": [0.0, 1.0],
        ...         "percentile_tables": [[[4, 6, 0, 0], [1, 0, 6, 3]]], "percentile_thresholds": [0.0, 0.9],
        ...         "class_labels": ["cat"],
        ...     },
        ... })
        """
        self._add_document(name, MetricKind.ACCURACY_TABLE, value)

    def log_residuals(self, name: str, value: object, description: str = "") -> None:
        """Log a histogram of residuals (predicted minus actual), of a dict or a JSON text: one more of `bin_edges` than
        of `bin_counts`. It becomes a file of the run.

        >>> run.log_residuals("residuals", {
        ...     "schema_type": "residuals", "schema_version": "1.0.0",
        ...     "data": {"bin_edges": [-1, 0, 1], "bin_counts": [3, 4]},
        ... })
        """
        self._add_document(name, MetricKind.RESIDUALS, value)

    def log_predictions(self, name: str, value: object, description: str = "") -> None:
        """Log predictions in bins of the true value, of a dict or a JSON text: one more of `bin_edges` than of
        `bin_averages`, `bin_errors` and `bin_counts`. It becomes a file of the run.

        >>> run.log_predictions("predictions", {
        ...     "schema_type": "predictions", "schema_version": "1.0.0",
        ...     "data": {"bin_averages": [0.25, 0.75], "bin_errors": [0.01, 0.04], "bin_counts": [56, 34],
        ...              "bin_edges": [0.0, 0.5, 1.0]},
        ... })
        """
        self._add_document(name, MetricKind.PREDICTIONS, value)

    def flush(self, timeout_seconds: float = 300) -> None:
        """Wait until everything logged into this run by this process is durable. Raises what the workspace raised.

        `timeout_seconds` is taken for old scripts' sake: a write is tried as long as any call to the workspace.
        """
        self._log.flush()

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """Return the run's metrics by name, or the one named: everything that `Run` and MLflow logged into it.

        One value is the value, several are a list; a row or table is `{column: value}`, or `{column: [values]}` for
        several rows, where a cell that was not logged is NaN; an image or a document is its file's address. With
        `recursive`, `{run_id: metrics}` of the run and all its descendants (those of a `run_type`) that have any.
        `populate` is taken for old scripts' sake: contents are downloaded with `download_file`.
        """
        self.flush()
        if not recursive:
            return self._metrics(name)
        runs = [*self.get_children(recursive=True, type=run_type), self]
        found = {run.id: run._metrics(name) for run in runs}
        return {run_id: metrics for run_id, metrics in found.items() if metrics}

    def _metrics(self, name: str | None) -> dict[str, Any]:
        self._log.flush()
        listed = self._records.metrics.list_metrics(self.id, name)
        return {metric.name: self._shape(metric) for metric in listed if any(metric.columns.values())}

    def _shape(self, metric: MetricRecord) -> Any:
        if metric.kind in GRID_KINDS:
            is_one = all(len(cells) == 1 for cells in metric.columns.values())
            return {column: cells[0] if is_one else cells for column, cells in metric.columns.items()}
        values: list[Cell] = metric.columns[""]
        if metric.kind in FILE_KINDS:
            values = [self._artifact_id(str(path)) for path in values]
        return values[0] if len(values) == 1 else values

    def _artifact_id(self, path: str) -> str:
        return f"aml://artifactId/ExperimentRun/dcid.{self.id}/{path}"

    def _add(self, name: str, kind: MetricKind, columns: Mapping[str, Sequence[Cell]]) -> None:
        logged = (name, kind, columns, None, time.time_ns() // 1_000_000)
        self._check(logged)
        if self._synchronous:
            self._records.metrics.log_values(self.id, [logged])
        else:
            self._log.add(logged)

    def _check(self, logged: tuple[str, MetricKind, Any, int | None, int]) -> None:
        check_logged_values(LoggedValues(*logged))
        self._checked_names.add(logged[0])

    def _add_file(self, name: str, kind: MetricKind, content: BinaryIO, ending: str) -> None:
        check_logged_values(LoggedValues(name, _SCALAR, None, None, 0))
        path = f"{_as_file_name(name)}_{time.time_ns() // 1000}{ending}"
        self._records.files.write(self._container, path, content)
        self._add(name, kind, {"": [path]})

    def _add_document(self, name: str, kind: MetricKind, value: object) -> None:
        document = checked_document(kind, name, value)
        content = json.dumps(document, ensure_ascii=False).encode()
        self._add_file(name, kind, io.BytesIO(content), ".json")

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
        self._records.runs.set_tags(self.id, {key: "" if value is None else str(value) for key, value in tags.items()})

    def get_tags(self) -> dict[str, str]:
        """Return the run's tags."""
        return {key: value for key, value in self._now().tags.items() if key not in _MIRROR_TAGS}

    def remove_tags(self, tags: str | Iterable[str]) -> None:
        """Delete tags; one that isn't there is passed over."""
        for key in [tags] if isinstance(tags, str) else tags:
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
        self._records.runs.add_properties(self.id, {key: str(value) for key, value in properties.items()})

    def get_properties(self) -> dict[str, str]:
        """Return the run's properties."""
        return self._now().properties

    # Files

    def upload_file(self, name: str, path_or_stream: PathText | BinaryIO, datastore_name: str | None = None) -> None:
        """Upload a file, or what is left of a stream of bytes, under a name with `/` between folders.

        A name that is there is written again. Raises InvalidValue for a file that can't be read or a name that isn't
        safe.
        """
        if isinstance(path_or_stream, str | PathLike):
            self._upload([(name, Path(path_or_stream))])
        else:
            self._records.files.write(self._container, name, path_or_stream)

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[PathText],
        return_artifacts: bool = False,
        timeout_seconds: float | None = None,
        datastore_name: str | None = None,
    ) -> None:
        """Upload files under names, one for each; all are there at once, or none."""
        if len(names) != len(paths):
            raise InvalidValue("names", len(names), f"must be as many as paths ({len(paths)})")
        self._upload(list(zip(names, map(Path, paths), strict=True)))

    def upload_folder(self, name: str, path: PathText, datastore_name: str | None = None) -> None:
        """Upload all files under a folder, as `name/…`; all are there at once."""
        self._upload(_files_under(Path(path), name))

    def _upload(self, items: Sequence[tuple[str, Path]]) -> None:
        for name, path in items:
            if not path.is_file():
                raise InvalidValue(f"file {name!r}", str(path), "is not a file that can be read")
        self._records.files.write_local(self._container, items)

    def get_file_names(self) -> _Texts:
        """Return the names of the run's files."""
        return [file.path for file in self._records.files.list_all(self._container)]

    def download_file(
        self, name: str, output_file_path: PathText | None = None, _validate_checksum: bool = False
    ) -> None:
        """Download a file to a path, into a folder that is there, or by its own name into the current one.

        It is checked on the way, and there whole or not at all. Raises NotFound.
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
        """Download the files under a folder of the run (all by default) into `output_directory`, the current one by
        default, under their whole names, or without the prefix.

        `output_paths` names a path for each instead, in the files' order. Raises NotFound where there are none.
        """
        prefix = (prefix or "").replace("\\", "/").strip("/")
        paths = [file.path for file in self._records.files.list_all(self._container, prefix)]
        if not paths:
            raise NotFound("file", prefix or "*", f"Run {self.id} has no files there")
        targets = output_paths
        if targets is None:
            targets = [path if append_prefix else path.removeprefix(prefix).lstrip("/") for path in paths]
        elif len(targets) != len(paths):
            raise InvalidValue("output_paths", len(targets), f"must be as many as the files ({len(paths)})")
        for path, target in zip(paths, targets, strict=True):
            self._download(path, Path(output_directory or "", target))

    def _download(self, path: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._records.files.download(self._container, path, target)
        return target

    def _file_uri(self, path: str) -> str:
        return self._experiment.workspace.file_uri(f"{self._container}/{path}")

    def take_snapshot(self, file_or_folder_path: PathText) -> str:
        """Snapshot a file or folder, but for what `.amlignore`, else `.gitignore`, leaves out; return its id.

        Raises InvalidValue for a path that isn't there or a folder of over 300 MB; Changed where the run has one.
        """
        snapshot_id = store_snapshot(self._records, Path(file_or_folder_path))
        self.add_properties({SNAPSHOT_PROPERTY: snapshot_id})
        return snapshot_id

    def restore_snapshot(self, snapshot_id: str | None = None, path: PathText | None = None) -> str:
        """Write a snapshot, the run's own by default, as a zip file into a folder (the current one by default), and
        return the file's path. Raises InvalidState where the run has none, NotFound."""
        wanted = snapshot_id or self.get_snapshot_id()
        if wanted is None:
            raise InvalidState(f"Run {self.id} has no snapshot; take one with take_snapshot(path)")
        target = Path("." if path is None else path, f"{wanted}.zip")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._records.snapshots.write_zip(wanted, target)
        return str(target)

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

        Raises NotFound where the run has no such file.
        """
        return register_run_model(
            self._experiment.workspace,
            self._info,
            model_name,
            model_path or model_name,
            tags=tags,
            properties=properties,
            framework=model_framework,
            framework_version=model_framework_version,
            description=description,
        )

    # The course of a run

    def start(self) -> None:
        """Mark it Running."""
        self._set_status(RunStatus.RUNNING)

    def complete(self, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Completed.

        A completed run still takes values: what is logged late is kept. Raises what `flush` does.
        """
        self.flush()
        self._upload_outputs()
        if _set_status:
            self._set_status(RunStatus.COMPLETED)

    def fail(self, error_details: object = None, error_code: str | None = None, _set_status: bool = True) -> None:
        """Wait for what was logged, upload the outputs, and mark the run Failed, with why: a text or an exception."""
        self.flush()
        self._upload_outputs()
        error = None
        if error_details is not None or error_code is not None:
            is_exception = isinstance(error_details, BaseException)
            message = repr(error_details) if is_exception else str(error_details or "")
            error = RunError(error_code or "UserError", message)
        self._set_status(RunStatus.FAILED, error)

    def cancel(self) -> None:
        """Wait for what was logged and mark the run Canceled."""
        self.flush()
        self._set_status(RunStatus.CANCELED)

    def _set_status(self, status: RunStatus, error: RunError | None = None) -> None:
        now = time.time_ns() // 1_000_000
        begins = status is RunStatus.RUNNING and self._info.start_ms is None
        self._info = self._records.runs.update(
            self.id,
            status=status,
            start_ms=now if begins else None,
            end_ms=now if status in _ENDED else None,
            error=error,
        )

    def _upload_outputs(self) -> None:
        """What was written into the outputs folder since this object was made."""
        folder = None if self._outputs is None else Path(self._outputs)
        if folder is None or not folder.is_dir():
            return
        name = folder.name or "outputs"
        new = [(path, file) for path, file in _files_under(folder, name) if file.stat().st_mtime >= self._opened_s]
        if new:
            self._upload(new)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Complete the run; for an exception, mark it Failed with that. `sys.exit()` without a code is no failure."""
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.complete()
            return
        with ExitStack() as always:
            always.callback(self._set_status, RunStatus.FAILED, RunError(type(error).__name__, str(error)))
            try:
                self.flush()
                self._upload_outputs()
            except AmlStoreError as while_failing:
                error.__context__ = while_failing

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until the run has ended and return its details.

        Raises InvalidState with its error where it failed or was cancelled, unless `raise_on_error` is False.
        """
        if show_output:
            raise NotSupported("Streaming a run's logs", "Read them with get_details_with_logs()")
        pause_s, longest_s = _POLL_S
        while RunStatus(self.get_status()) not in _ENDED:
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
        """Create child runs that are not started: `count` of them, or one for each of `tag_values` under `tag_key`;
        at most 100. Raises InvalidValue."""
        if (count is None) == (tag_key is None or tag_values is None):
            raise InvalidValue("count", count, "give either count, or tag_key and tag_values")
        values = list(range(count) if count is not None else tag_values or ())
        if len(values) > _MAX_CHILDREN_AT_ONCE:
            raise InvalidValue("number of children", len(values), f"at most {_MAX_CHILDREN_AT_ONCE} at once")
        key = _CHILD_NUMBER_TAG if tag_key is None else tag_key
        return [
            start_run(
                self._experiment,
                parent_run_id=self.id,
                tags={key: str(value)},
                status=RunStatus.NOT_STARTED,
                synchronous=self._synchronous,
            )
            for value in values
        ]

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
            of=self.id,
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
    tags: Mapping[str, str] | None = None,
    status: RunStatus = RunStatus.RUNNING,
    synchronous: bool = False,
) -> Run:
    """Make a run, started now unless its `status` says otherwise."""
    properties = {}
    if snapshot_directory is not None:
        try:
            properties[SNAPSHOT_PROPERTY] = store_snapshot(experiment.workspace.records, Path(snapshot_directory))
        except SnapshotTooLarge as error:  # the current folder by default, which may hold anything
            _logger.warning("The run starts without a snapshot. %s", error)
    record = experiment.workspace.records.runs.create(
        experiment.id,
        run_id=run_id,
        name=name,
        user_id=_user(),
        status=status,
        start_ms=None if status is RunStatus.NOT_STARTED else time.time_ns() // 1_000_000,
        parent_run_id=parent_run_id,
        tags=tags,
        properties=properties,
    )
    return Run._of(experiment, record, outputs=outputs, synchronous=synchronous)


def find_runs(
    workspace: "Workspace",
    experiment: "Experiment | None",
    *,
    of: str | None = None,
    recursive: bool = False,
    include_children: bool = False,
    run_type: str | None = None,
    tags: str | Mapping[str, str | None] | None = None,
    properties: str | Mapping[str, str | None] | None = None,
    status: str | None = None,
) -> Iterator[Run]:
    """Yield the runs of an experiment, or below a run, that meet all that is given, page by page."""
    filter = RunFilter(
        of=of,
        recursive=recursive,
        include_children=include_children,
        run_type=run_type,
        tags=_wanted(tags),
        properties=_wanted(properties),
        status=None if status is None else status_from_azure(status),
    )
    token = None
    while True:
        page = workspace.records.runs.find(
            filter, experiment_id=None if experiment is None else experiment.id, max_results=_PAGE, page_token=token
        )
        for record in page.items:
            yield _run_of(workspace, record) if experiment is None else Run._of(experiment, record)
        token = page.next_token
        if token is None:
            return


def _wanted(values: str | Mapping[str, str | None] | None) -> dict[str, str | None]:
    return {values: None} if isinstance(values, str) else dict(values or {})


def _run_of(workspace: "Workspace", record: RunRecord) -> Run:
    from mlflow_amlstore.core.experiment import Experiment

    experiment = workspace.records.experiments.get(record.info.experiment_id)
    return Run._of(Experiment._of(workspace, experiment), record)


def _files_under(folder: Path, name: str) -> list[tuple[str, Path]]:
    """The files under a folder as `(NAME/PATH, file)`. Raises InvalidValue where it is none."""
    if not folder.is_dir():
        raise InvalidValue(f"folder {name!r}", str(folder), "is not a folder")
    prefix = f"{name.strip('/')}/" if name.strip("/") else ""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(prefix + file.relative_to(folder).as_posix(), file) for file in files]


def _as_file_name(name: str) -> str:
    safe = _UNSAFE_IN_FILE_NAME.sub("_", name).strip(". ") or "metric"
    return safe.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else ""
