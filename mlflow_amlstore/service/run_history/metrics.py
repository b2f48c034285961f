"""Metrics, as Azure ML's SDK logs and reads them by default: its version 2."""

import math
from collections.abc import Iterator, Sequence

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound, PageTokenInvalid
from mlflow_amlstore.records.logged_values import is_nan
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    Cell,
    LoggedTuple,
    MetricKind,
    MetricRecord,
)
from mlflow_amlstore.service.routing import Area, Call, Role, Routes
from mlflow_amlstore.service.run_history.run_dto import time_of
from mlflow_amlstore.service.run_history.sent_again import log_once
from mlflow_amlstore.service.uris import RUN_CONTAINER_PREFIX
from mlflow_amlstore.workspace.run_history.metric_kinds import (
    ARTIFACT_TYPE,
    FLOAT_TYPES,
    KINDS,
    UX_TYPES,
    artifact_id,
)
from mlflow_amlstore.workspace.run_history.moments import iso_time

ROUTES = Routes(Area.METRIC)

PAGE_VALUES = 100_000


class MetricProperties(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What kind of metric it is."""

    ux_metric_type: str = UX_TYPES[MetricKind.SCALAR]


class MetricValue(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One value, or one row: a cell for each column."""

    data: dict[str, float | int | str | bool | None]
    created_utc: str | None = None
    step: int | None = None
    metric_id: str | None = None


class Metric(msgspec.Struct, frozen=True, rename="camel"):
    """Values of one metric, and the types of its columns."""

    name: str
    columns: dict[str, str]
    value: list[MetricValue]
    properties: MetricProperties = MetricProperties()
    data_container_id: str | None = None
    continuation_token: str | None = None


class BatchOfMetrics(msgspec.Struct, frozen=True, rename="camel"):
    """Values of several metrics of a run."""

    values: list[Metric]
    report_errors: bool = False


class ListMetrics(msgspec.Struct, frozen=True, rename="camel"):
    """Which page of the list."""

    continuation_token: str | None = None


class MetricKey(msgspec.Struct, frozen=True):
    """What a metric is called."""

    name: str
    namespace: str | None = None


class MetricDefinition(msgspec.Struct, frozen=True, rename="camel"):
    """A metric without its values."""

    metric_key: MetricKey
    columns: dict[str, str]


class MetricList(msgspec.Struct, frozen=True, rename="camel"):
    """The metrics of a run."""

    value: list[MetricDefinition]
    continuation_token: str | None = None


class FullMetric(msgspec.Struct, frozen=True, rename="camel"):
    """Which metric, and which page of its values."""

    metric_name: str
    start_time: str | None = None
    end_time: str | None = None
    continuation_token: str | None = None


@ROUTES.post("/runs/{run}/batch", Role.CONTRIBUTOR)
def log_batch(call: Call, body: BatchOfMetrics) -> None:
    """Append values to a run's metrics: all of them, or none."""
    run_id = call.path["run"]
    logged = [each for metric in body.values for each in _logged(run_id, metric)]
    log_once(call, run_id, body, [value.metric_id for metric in body.values for value in metric.value], logged)


@ROUTES.post("/runs/{run}/list", Role.READER)
def list_metrics(call: Call, body: ListMetrics) -> MetricList:
    """List the metrics of a run."""
    call.records.runs.get(call.path["run"])
    listed = call.records.metrics.list_names(call.path["run"])
    return MetricList([MetricDefinition(MetricKey(name), {}) for name, _ in listed])


@ROUTES.post("/runs/{run}/full", Role.READER)
def read_metric(call: Call, body: FullMetric) -> Metric:
    """Give a metric with its values, a page at a time."""
    run_id = call.path["run"]
    found = call.records.metrics.list_metrics(run_id, body.metric_name, with_times=True)
    if not found:
        raise NotFound("metric", body.metric_name, f"Run {run_id} has none of this name")
    metric, first = found[0], _read_token(body.continuation_token)
    rows = _rows(run_id, metric, first, first + PAGE_VALUES)
    end = first + len(rows)
    return Metric(
        name=metric.name,
        columns={_column(metric, column): _type_of(metric, cells) for column, cells in metric.columns.items()},
        value=rows,
        properties=MetricProperties(UX_TYPES[metric.kind]),
        data_container_id=RUN_CONTAINER_PREFIX + run_id,
        continuation_token=str(end) if end < len(metric.steps) else None,
    )


def _logged(run_id: str, metric: Metric) -> Iterator[LoggedTuple]:
    """What the values are in the records' terms."""
    kind = KINDS.get(metric.properties.ux_metric_type)
    if kind is None:
        known = ", ".join(dict.fromkeys(UX_TYPES.values()))
        raise InvalidValue("uxMetricType", metric.properties.ux_metric_type, f"must be one of {known}")
    floats = {column for column, kind_of_cell in metric.columns.items() if kind_of_cell.lower() in FLOAT_TYPES}
    if kind is MetricKind.SCALAR:
        for value in metric.value:
            yield metric.name, kind, _only_cell(metric, value, floats), value.step, _time_of(value)
    elif kind in GRID_KINDS:
        yield from _logged_rows(metric, floats)
    elif metric.value:
        cells = [_only_cell(metric, value, floats) for value in metric.value]
        if kind in FILE_KINDS:
            cells = [path_of(run_id, metric.name, cell) for cell in cells]
        yield metric.name, kind, {"": cells}, metric.value[0].step, _time_of(metric.value[0])


def _logged_rows(metric: Metric, floats: set[str]) -> Iterator[LoggedTuple]:
    """Rows one by one, each with the columns that it has."""
    kind = MetricKind.ROW if len(metric.value) == 1 else MetricKind.TABLE
    for value in metric.value:
        cells = {column: [_cell(cell, column in floats)] for column, cell in value.data.items()}
        yield metric.name, kind, cells, value.step, _time_of(value)


def _only_cell(metric: Metric, value: MetricValue, floats: set[str]) -> Cell:
    if len(value.data) != 1:
        raise InvalidValue(f"metric {metric.name!r}", list(value.data), "a value of this kind has one column")
    [(column, cell)] = value.data.items()
    return _cell(cell, column in floats)


def _cell(cell: Cell, is_float: bool) -> Cell:
    if is_float and isinstance(cell, str):
        try:
            return float(cell)  # "NaN" and "Infinity", as JSON can have them
        except ValueError as error:
            raise InvalidValue("metric value", cell, "its column's type is a number's") from error
    return cell


def path_of(run_id: str, name: str, cell: Cell) -> str:
    """The path of the run's file whose address a metric's value is. Raises InvalidValue for any other file's."""
    address, prefix = str(cell), artifact_id(run_id)
    if not address.startswith(prefix):
        raise InvalidValue(f"metric {name!r}", cell, f"must be the address of a file of the run: {prefix}PATH")
    return address.removeprefix(prefix)


def _time_of(value: MetricValue) -> int:
    if value.created_utc is None:
        raise InvalidValue("createdUtc", None, "must be given with each value")
    return time_of(value.created_utc)


def _rows(run_id: str, metric: MetricRecord, first: int, end: int) -> list[MetricValue]:
    columns = {
        _column(metric, column): _sent(run_id, metric, cells[first:end]) for column, cells in metric.columns.items()
    }
    steps, times_ms = metric.steps[first:end], metric.times_ms[first:end]
    rows = [
        MetricValue(dict(zip(columns, row, strict=True)), iso_time(timestamp_ms), step)
        for row, step, timestamp_ms in zip(zip(*columns.values(), strict=True), steps, times_ms, strict=True)
    ]
    if metric.kind in GRID_KINDS:
        for column, cells in metric.columns.items():
            if _type_of(metric, cells) == "string":
                _leave_out_nan(rows, column, cells[first:end])
    return rows


def _leave_out_nan(rows: Sequence[MetricValue], column: str, cells: Sequence[Cell]) -> None:
    """NaN among texts, most often a cell that wasn't logged, would be read as the text "NaN"; what isn't there is NaN
    to whoever reads."""
    for row, cell in zip(rows, cells, strict=True):
        if is_nan(cell):
            del row.data[column]


def _sent(run_id: str, metric: MetricRecord, cells: Sequence[Cell]) -> list[Cell]:
    """Cells as JSON has them: no NaN, no ±Inf; the SDK makes a float of such a text again."""
    if metric.kind in FILE_KINDS:
        return [artifact_id(run_id, path) if isinstance(path, str) else path for path in cells]  # MLflow's numbers
    return [_text(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]


def _text(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _column(metric: MetricRecord, column: str) -> str:
    return column if metric.kind in GRID_KINDS else metric.name


def _type_of(metric: MetricRecord, cells: Sequence[Cell]) -> str:
    if metric.kind in FILE_KINDS:
        return ARTIFACT_TYPE
    kinds = {type(cell) for cell in cells}
    if kinds <= {bool}:
        return "bool"
    if kinds <= {int}:
        return "int"
    if kinds <= {int, float}:
        return "double"
    return "none" if kinds <= {type(None)} else "string"


def _read_token(token: str | None) -> int:
    if token is None:
        return 0
    if not token.isdecimal():
        raise PageTokenInvalid(token, "this service didn't issue it")
    return int(token)
