"""Metrics, as Azure ML's SDK logs and reads them by default: its version 2."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX
from mlflow_amlstore.protocol.metric_kinds import (
    ARTIFACT_TYPE,
    FLOAT_TYPES,
    KINDS,
    NOT_FINITE,
    UX_TYPES,
    artifact_id,
    column_type,
    finite,
)
from mlflow_amlstore.protocol.times import iso_time
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    Cell,
    LoggedTuple,
    MetricKind,
    MetricRecord,
    SeriesCurve,
)
from mlflow_amlstore.service.routing import MAX_LARGE_JSON_BYTES, Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.deduplication import log_once
from mlflow_amlstore.service.run_history.run_dto import time_of

ROUTES = Routes(Area.METRIC)

PAGE_VALUES = 100_000
_MOST_CURVES = 200


class MetricProperties(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What kind of metric it is. `description` is ours: what is said of it, where something is."""

    ux_metric_type: str = UX_TYPES[MetricKind.SCALAR]
    description: str | msgspec.UnsetType = msgspec.UNSET


class MetricValue(msgspec.Struct, frozen=True, rename="camel", gc=False, omit_defaults=True):
    """One value, or one row: a cell for each column.

    JSON has no NaN and no ±Infinity, so they are sent as texts. In a column whose type is a number the SDK turns them
    into numbers again. `not_finite` is ours: the columns where such a text is a number, whatever the column's type.
    """

    data: dict[str, float | int | str | bool | None]
    created_utc: str | None = None
    step: int | None = None
    metric_id: str | None = None
    not_finite: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class Metric(msgspec.Struct, frozen=True, rename="camel"):
    """Values of one metric, and the types of its columns.

    The SDK gives a column the type of its first cell, so each cell is read by its own type instead. In a column of
    floats the texts NaN and ±Infinity are numbers.
    """

    name: str
    columns: dict[str, str]
    value: list[MetricValue]
    properties: MetricProperties = MetricProperties()
    data_container_id: str | None = None
    continuation_token: str | None = None


class FoundMetric(Metric, frozen=True, rename="camel"):
    """A metric, or a page of it. `cells` is ours: each column's, instead of rows."""

    cells: dict[str, list[float | int | str | bool | None]] | msgspec.UnsetType = msgspec.UNSET


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
    """A metric without its values. `properties` are ours."""

    metric_key: MetricKey
    columns: dict[str, str]
    properties: MetricProperties


class MetricList(msgspec.Struct, frozen=True, rename="camel"):
    """The metrics of a run."""

    value: list[MetricDefinition]
    continuation_token: str | None = None


class FullMetric(msgspec.Struct, frozen=True, rename="camel"):
    """Which metric, which page of its values, and from when to when they were logged, both included.

    `cells_only` is ours: whoever wants neither steps nor times may be answered with columns, a tenth as long as rows.
    """

    metric_name: str
    start_time: str | None = None
    end_time: str | None = None
    continuation_token: str | None = None
    cells_only: bool = False


class CurvesOfRun(msgspec.Struct, frozen=True):
    """Which series, by the names that MLflow has for them, and in how many columns each is drawn."""

    names: list[str]
    columns: int


@ROUTES.post("/runs/{run}/batch", Role.CONTRIBUTOR, Right.TRACK, most_bytes=MAX_LARGE_JSON_BYTES)
def log_batch(call: Call, body: BatchOfMetrics) -> None:
    """Append values to a run's metrics: all of them, or none."""
    run_id = call.path["run"]
    logged = [each for metric in body.values for each in _logged(run_id, metric)]
    descriptions = {
        metric.name: metric.properties.description
        for metric in body.values
        if metric.properties.description is not msgspec.UNSET
    }
    metric_ids = [value.metric_id for metric in body.values for value in metric.value]
    log_once(call, run_id, body, metric_ids, logged, descriptions)


@ROUTES.post("/runs/{run}/list", Role.READER, Right.TRACK, is_long=True)
def list_metrics(call: Call, body: ListMetrics) -> MetricList:
    """List the metrics of a run."""
    call.records.runs.get(call.path["run"])
    listed = call.records.metrics.list_names(call.path["run"])
    said = call.records.metrics.descriptions(call.path["run"])
    return MetricList(
        [
            MetricDefinition(MetricKey(name), {}, MetricProperties(UX_TYPES[kind], said.get(name, msgspec.UNSET)))
            for name, kind in listed
        ]
    )


@ROUTES.post("/runs/{run}/curves", Role.READER, Right.TRACK, is_long=True)
def read_curves(call: Call, body: CurvesOfRun) -> list[SeriesCurve]:
    """Give series of a run as they are drawn; the route is ours."""
    call.records.runs.get(call.path["run"])
    if len(body.names) > _MOST_CURVES:
        raise InvalidValue("names", f"{len(body.names)} of them", f"must be {_MOST_CURVES} at most")
    return call.records.metrics.curves_of_run(call.path["run"], body.names, columns=body.columns)


@ROUTES.post("/runs/{run}/full", Role.READER, Right.TRACK, is_long=True)
def read_metric(call: Call, body: FullMetric) -> FoundMetric:
    """Give a metric with its values, a page at a time."""
    run_id = call.path["run"]
    page = call.records.metrics.page(
        run_id,
        body.metric_name,
        max_rows=PAGE_VALUES,
        page_token=body.continuation_token,
        first_ms=None if body.start_time is None else time_of(body.start_time),
        last_ms=None if body.end_time is None else time_of(body.end_time),
        with_times=not body.cells_only,
    )
    if page is None:
        raise NotFound("metric", body.metric_name, f"Run {run_id} has none of this name")
    metric = page.metric
    columns = _columns(run_id, metric)
    in_columns = body.cells_only and all(map(_are_finite, columns.values()))
    return FoundMetric(
        name=metric.name,
        columns={
            _column(metric, column): ARTIFACT_TYPE if metric.kind in FILE_KINDS else column_type(types)
            for column, types in page.cell_types.items()
        },
        value=[] if in_columns else _rows(metric, columns),
        cells=columns if in_columns else msgspec.UNSET,
        properties=MetricProperties(UX_TYPES[metric.kind]),
        data_container_id=RUN_CONTAINER_PREFIX + run_id,
        continuation_token=page.next_token,
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
    return NOT_FINITE.get(cell, cell) if is_float and isinstance(cell, str) else cell


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


def _columns(run_id: str, metric: MetricRecord) -> dict[str, list[Cell]]:
    """Cells as answers have them, but for the numbers that JSON has none for."""
    if metric.kind not in FILE_KINDS:
        return {_column(metric, column): cells for column, cells in metric.columns.items()}
    return {
        _column(metric, column): [artifact_id(run_id, cell) if isinstance(cell, str) else cell for cell in cells]
        for column, cells in metric.columns.items()  # numbers are MLflow's
    }


def _are_finite(cells: Sequence[Cell]) -> bool:
    try:
        if math.isfinite(sum(cells)):  # type: ignore[arg-type]  # a sum of others has one of them, or fails
            return True
    except TypeError:
        pass  # texts
    return all(type(cell) is not float or math.isfinite(cell) for cell in cells)


def _rows(metric: MetricRecord, columns: Mapping[str, Sequence[Cell]]) -> list[MetricValue]:
    """A row for each value, or each of a grid; with neither step nor time where the metric has none."""
    steps = metric.steps or repeat(None)
    times = map(iso_time, metric.times_ms) if metric.times_ms else repeat(None)
    rows = [
        MetricValue(dict(zip(columns, row, strict=True)), time, step)
        for row, step, time in zip(zip(*columns.values(), strict=True), steps, times, strict=False)
    ]
    for column, cells in columns.items():
        if not _are_finite(cells):
            _put_texts_for_numbers(rows, column)
    return rows


def _put_texts_for_numbers(rows: list[MetricValue], column: str) -> None:
    """Put what JSON has in place of a column's NaN and ±Infinity."""
    for number, row in enumerate(rows):
        cell = row.data[column]
        if type(cell) is float and not math.isfinite(cell):
            known = () if row.not_finite is msgspec.UNSET else row.not_finite
            data = {**row.data, column: finite(cell)}
            rows[number] = msgspec.structs.replace(row, data=data, not_finite=(*known, column))


def _column(metric: MetricRecord, column: str) -> str:
    return column if metric.kind in GRID_KINDS else metric.name
