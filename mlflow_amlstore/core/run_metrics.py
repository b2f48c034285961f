"""The metrics of a run: Azure ML's logging calls, and reading back what they and MLflow logged."""

import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from mlflow_amlstore.core.buffered_log import buffered_log
from mlflow_amlstore.core.cells import as_cell, as_cells, as_columns
from mlflow_amlstore.core.images import image_of
from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.metric_schemas import checked_document
from mlflow_amlstore.core.open_run import OpenRun
from mlflow_amlstore.protocol.metric_kinds import artifact_id
from mlflow_amlstore.records.logged_values import check_description, check_logged_values, check_same_kind
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    Cell,
    LoggedTuple,
    LoggedValues,
    MetricKind,
    MetricRecord,
    RunFilter,
)
from mlflow_amlstore.records.validation import check_integer

_Columns = Mapping[str, Sequence[Cell]]
_UNSAFE_IN_FILE_NAME = re.compile(r"[^\w.\- ]")
_MAX_NAME_BYTES = 150  # of a metric's name in its file's name
_CELLS_AT_ONCE = 10_000  # longer lists and tables are written as several, which go on from each other
_SCALAR = MetricKind.SCALAR


class RunMetrics(OpenRun):
    """Logging values into a run, and its metrics."""

    def _open_log(self, synchronous: bool) -> None:
        self._synchronous = synchronous
        self._log = buffered_log(self._records.metrics, self.id)

    def log(self, name: str, value: object, description: str = "", step: int | None = None) -> None:
        """Log a number, boolean or string; under a name logged before, the metric becomes a vector.

        Scalars of NumPy and pandas, and arrays and tensors of one element, are logged as the value they hold; -0.0 is
        logged as 0.0. `step` is a 64-bit integer (also NumPy's), by default the value's position in the metric. MLflow
        sees numbers and booleans as a metric. `description` is kept with the metric (`get_metric_descriptions`). Raises
        InvalidValue for any other value, and for a name that is empty, has over 1000 characters or belongs to another
        kind of metric.

        >>> run.log("accuracy", 0.9)
        >>> run.log("stage", "warm-up")
        >>> run.get_metrics("accuracy")
        {'accuracy': 0.9}
        """
        given = value
        if type(value) is not float:
            value = as_cell(f"metric {name!r}", value)
        if step is not None and type(step) is not int:
            step = check_integer(f"step of metric {name!r}", step)
        logged = (name, _SCALAR, value, step, time.time_ns() // 1_000_000)
        said = _said(name, description) if description else ""
        if step is not None or type(value) is not float or self._log.kinds.get(name) is not _SCALAR:
            self._check(logged)
        if said:
            self._log.describe(name, said)
        if self._synchronous:
            self._log.write_through([logged])
        else:
            self._log.add(logged)
        if self._offline is not None:
            self._offline.announce(f"{name} = {given}" + ("" if step is None else f" (step {step})"))

    def log_list(self, name: str, value: Iterable[object], description: str = "") -> None:
        """Log several numbers or strings at once, from a list, a generator, an array of one dimension or any iterable.

        Logging the name again extends the list. MLflow sees the numbers as a history by position. An empty list logs
        nothing, not even the name.

        >>> run.log_list("fibonacci", (n for n in [1, 1, 2, 3]))
        >>> run.get_metrics("fibonacci")
        {'fibonacci': [1, 1, 2, 3]}
        """
        self._add(name, MetricKind.LIST, {"": as_cells(f"metric {name!r}", value)}, description)

    def log_row(self, name: str, description: str | None = None, **kwargs: object) -> None:
        """Log one row, a value for each column. Logging the name again adds a row, so that a loop makes a table.

        MLflow sees each numeric column as the history `name.column`.

        >>> for angle in (0, 90):
        ...     run.log_row("rotation", angle=angle, error=angle / 100)
        >>> run.get_metrics("rotation")
        {'rotation': {'angle': [0, 90], 'error': [0.0, 0.9]}}
        """
        cells: _Columns = {
            column: [value if type(value) is float else as_cell(f"metric {name!r}, column {column!r}", value)]
            for column, value in kwargs.items()
        }
        self._add(name, MetricKind.ROW, cells, description)

    def log_table(self, name: str, value: Mapping[str, Iterable[object]], description: str = "") -> None:
        """Log a table: a dict of columns of equal length, or a data frame. A dict of single values is one row.

        Logging the name again adds rows. Columns without values log nothing. Raises InvalidValue for no columns.

        >>> run.log_table("squares", {"x": [1, 2, 3], "y": [1, 4, 9]})
        >>> run.get_metrics("squares")
        {'squares': {'x': [1, 2, 3], 'y': [1, 4, 9]}}
        """
        self._add(name, MetricKind.TABLE, as_columns(f"metric {name!r}", value), description)

    def log_image(
        self, name: str, path: PathText | BinaryIO | None = None, plot: object = None, description: str = ""
    ) -> None:
        """Log an image: `path` is a file or a stream of bytes, `plot` matplotlib's `plt` or a figure, saved as PNG.

        The image is a file of the run, which MLflow's UI shows; the metric's value is its address. Raises
        InvalidValue for a file that can't be read.
        """
        content, ending = image_of(f"image {name!r}", path, plot)
        with content:
            self._add_file(name, MetricKind.IMAGE, content, ending, description)

    def log_confusion_matrix(self, name: str, value: object, description: str = "") -> None:
        """Log a confusion matrix, of a dict or a JSON text; it becomes a file of the run.

        >>> run.log_confusion_matrix("confusion", {
        ...     "schema_type": "confusion_matrix", "schema_version": "1.0.0",
        ...     "data": {"class_labels": ["cat", "dog"], "matrix": [[8, 2], [1, 9]]},
        ... })
        """
        self._add_document(name, MetricKind.CONFUSION_MATRIX, value, description)

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
        self._add_document(name, MetricKind.ACCURACY_TABLE, value, description)

    def log_residuals(self, name: str, value: object, description: str = "") -> None:
        """Log a histogram of residuals (predicted minus actual), of a dict or a JSON text: one more of `bin_edges` than
        of `bin_counts`. It becomes a file of the run.

        >>> run.log_residuals("residuals", {
        ...     "schema_type": "residuals", "schema_version": "1.0.0",
        ...     "data": {"bin_edges": [-1, 0, 1], "bin_counts": [3, 4]},
        ... })
        """
        self._add_document(name, MetricKind.RESIDUALS, value, description)

    def log_predictions(self, name: str, value: object, description: str = "") -> None:
        """Log predictions in bins of the true value, of a dict or a JSON text: one more of `bin_edges` than of
        `bin_averages`, `bin_errors` and `bin_counts`. It becomes a file of the run.

        >>> run.log_predictions("predictions", {
        ...     "schema_type": "predictions", "schema_version": "1.0.0",
        ...     "data": {"bin_averages": [0.25, 0.75], "bin_errors": [0.01, 0.04], "bin_counts": [56, 34],
        ...              "bin_edges": [0.0, 0.5, 1.0]},
        ... })
        """
        self._add_document(name, MetricKind.PREDICTIONS, value, description)

    def flush(self, timeout_seconds: float = 300) -> None:
        """Wait until everything that this process logged into this run is durable. Raises what the workspace raised.

        `timeout_seconds` is accepted for old scripts: a write is retried for as long as any call to the workspace.
        """
        self._log.flush()

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """Return the run's metrics by name, or only the one named: all that `Run` and MLflow logged into it.

        A metric of one value is that value; of several values, a list. A row or table is `{column: value}`, or
        `{column: [values]}` for several rows, with NaN for a cell that was not logged. An image or a document is its
        file's address. Values that MLflow logged under a table's name are rows at its end, in a column "".

        With `recursive`, return `{run_id: metrics}` for the run and its descendants (only those of `run_type`, if
        given), without those that have no metrics. `populate` is accepted for old scripts: get contents with
        `download_file`.
        """
        if not recursive:
            return self._metrics_of(self.id, name)
        below = self._records.runs.find(RunFilter(parent_run_id=self.id, recursive=True, run_type=run_type)).items
        run_ids = [*(record.info.run_id for record in below), self.id]
        found = {run_id: self._metrics_of(run_id, name) for run_id in run_ids}
        return {run_id: metrics for run_id, metrics in found.items() if metrics}

    def get_metric_descriptions(self) -> dict[str, str]:
        """Return what the logging calls said of the run's metrics in `description`, by the metric's name.

        The last one given is kept. Azure ML's workspaces keep none.

        >>> run.log("accuracy", 0.9, description="on the test set")
        >>> run.get_metric_descriptions()
        {'accuracy': 'on the test set'}
        """
        self._log.flush()
        return self._records.metrics.descriptions(self.id)

    def _metrics_of(self, run_id: str, name: str | None) -> dict[str, Any]:
        buffered_log(self._records.metrics, run_id).flush()
        listed = self._records.metrics.list_metrics(run_id, name)
        return {metric.name: _shape(run_id, metric) for metric in listed if any(metric.columns.values())}

    def _add(self, name: str, kind: MetricKind, columns: _Columns, description: str | None) -> None:
        logged = (name, kind, columns, None, time.time_ns() // 1_000_000)
        said = _said(name, description)
        self._check(logged)
        if said and any(columns.values()):
            self._log.describe(name, said)
        calls = list(_pieces(logged))
        if self._synchronous:
            self._log.write_through(calls)
        else:
            for call in calls:
                self._log.add(call)
        if self._offline is not None:
            values = next(iter(columns.values())) if list(columns) == [""] else columns
            self._offline.announce(f"{name} = {values} ({kind.words})")

    def _check(self, logged: LoggedTuple) -> None:
        """Check values at the call, and that this process has logged no other kind of metric under the name.

        The name is this kind's from then on, unless there are no values: so this comes after all other checks.
        """
        name, kind, values = logged[:3]
        check_logged_values(LoggedValues(*logged))
        kinds = self._log.kinds
        is_empty = isinstance(values, Mapping) and not any(values.values())
        check_same_kind(name, kinds.get(name, kind) if is_empty else kinds.setdefault(name, kind), kind)

    def _add_file(self, name: str, kind: MetricKind, content: BinaryIO, ending: str, description: str | None) -> None:
        _said(name, description)
        self._check((name, kind, {"": []}, None, 0))  # before the file is there
        path = f"{_as_file_name(name)}_{time.time_ns() // 1000}{ending}"
        self._records.files.write(self._container, path, content)
        self._add(name, kind, {"": [path]}, description)

    def _add_document(self, name: str, kind: MetricKind, value: object, description: str | None) -> None:
        document = checked_document(kind, name, value)
        content = json.dumps(document, ensure_ascii=False).encode()
        self._add_file(name, kind, io.BytesIO(content), ".json", description)


def _said(name: str, description: object) -> str:
    """What a call says of a metric, checked. Old scripts give a step here, too."""
    said = "" if description is None else str(description)
    check_description(name, said)
    return said


def _shape(run_id: str, metric: MetricRecord) -> Any:
    """A metric's values as `get_metrics` gives them."""
    if metric.kind in GRID_KINDS:
        is_one = all(len(cells) == 1 for cells in metric.columns.values())
        return {column: cells[0] if is_one else cells for column, cells in metric.columns.items()}
    values: list[Cell] = metric.columns[""]
    if metric.kind in FILE_KINDS:
        values = [artifact_id(run_id, path) if isinstance(path, str) else path for path in values]  # MLflow's numbers
    return values[0] if len(values) == 1 else values


def _pieces(logged: tuple[str, MetricKind, _Columns, int | None, int]) -> Iterator[LoggedTuple]:
    """Split a call of many rows into several with the same result, so that each write has a bounded size."""
    name, kind, columns, step, timestamp_ms = logged
    rows, at_once = len(next(iter(columns.values()))), max(1, _CELLS_AT_ONCE // len(columns))
    if rows <= at_once:
        yield logged
        return
    for start in range(0, rows, at_once):
        piece = {column: cells[start : start + at_once] for column, cells in columns.items()}
        yield name, kind, piece, step, timestamp_ms


def _as_file_name(name: str) -> str:
    safe = _UNSAFE_IN_FILE_NAME.sub("_", name).strip(". ") or "metric"
    return safe.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
