"""Metrics in version 1 of Azure ML's SDK, which it speaks where AZUREML_METRICS_V2 is empty, without steps."""

import math
import time
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.artifact_origins import RUN_CONTAINER_PREFIX
from mlflow_amlstore.protocol.metric_kinds import KINDS, UX_TYPES, artifact_id
from mlflow_amlstore.protocol.times import iso_time
from mlflow_amlstore.records.types import FILE_KINDS, GRID_KINDS, Cell, LoggedTuple, MetricKind, MetricRecord
from mlflow_amlstore.service.files.containers import check_run_in_experiment
from mlflow_amlstore.service.routing import MAX_LARGE_JSON_BYTES, Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.deduplication import log_once
from mlflow_amlstore.service.run_history.metrics import path_of
from mlflow_amlstore.service.run_history.odata import read_metric_filter
from mlflow_amlstore.service.run_history.run_dto import time_of

ROUTES = Routes(Area.HISTORY)

_TYPES = ((bool, "bool"), (int, "int"), (float, "float"), (str, "string"))


class Property(msgspec.Struct, frozen=True, rename="camel"):
    """A column, and the type of its cells."""

    property_id: str | None = None
    name: str | None = None
    type: str | None = None


class Schema(msgspec.Struct, frozen=True, rename="camel"):
    """The columns."""

    num_properties: int
    properties: list[Property]


class RunMetric(msgspec.Struct, frozen=True, rename="camel"):
    """Values of one metric; each cell has one column, and those of a table come column by column."""

    name: str
    metric_type: str
    created_utc: str | None = None
    cells: list[dict[str, float | int | str | bool | None]] | None = None
    metric_id: str | None = None
    run_id: str | None = None
    description: str | None = None
    num_cells: int | None = None
    schema: Schema | None = None
    data_location: str | None = None
    data_container_id: str | None = None


class BatchOfRunMetrics(msgspec.Struct, frozen=True):
    """Values of several metrics."""

    values: list[RunMetric]


class MetricQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Which runs' metrics, and perhaps of what name."""

    filter: str | None = None
    continuation_token: str | None = None


class RunMetricPage(msgspec.Struct, frozen=True, rename="camel"):
    """Metrics."""

    value: list[RunMetric]
    continuation_token: str | None = None


@ROUTES.post(
    "/experiments/{experiment}/runs/{run}/batch/metrics", Role.CONTRIBUTOR, Right.TRACK, most_bytes=MAX_LARGE_JSON_BYTES
)
def log_batch(call: Call, body: BatchOfRunMetrics) -> None:
    """Append values to a run's metrics: all of them, or none."""
    run_id = call.path["run"]
    check_run_in_experiment(call.records, call.path["experiment"], run_id)
    logged = [_logged(run_id, metric) for metric in body.values]
    log_once(call, run_id, body, [metric.metric_id for metric in body.values], logged)


@ROUTES.post(
    "/experiments/{experiment}/runs/{run}/metrics", Role.CONTRIBUTOR, Right.TRACK, most_bytes=MAX_LARGE_JSON_BYTES
)
def log_one(call: Call, body: RunMetric) -> None:
    """Append values to one metric of a run."""
    log_batch(call, BatchOfRunMetrics([body]))


@ROUTES.get("/experiments/{experiment}/runs/{run}/metricsingest/wait", Role.READER, Right.TRACK)
@ROUTES.get("/experimentids/{experiment}/runs/{run}/metricsingest/wait", Role.READER, Right.TRACK)
def wait_for_ingest(call: Call) -> None:
    """Answer when all values that were sent are written, as they are when their sending was answered."""
    check_run_in_experiment(call.records, call.path["experiment"], call.path["run"])


@ROUTES.post("/experiments/{experiment}/metrics:query", Role.READER, Right.TRACK, is_long=True)
def query(call: Call, body: MetricQuery) -> RunMetricPage:
    """Give the metrics of runs with their values."""
    run_ids, name = read_metric_filter(body.filter or "")
    found = []
    for run_id in run_ids:
        check_run_in_experiment(call.records, call.path["experiment"], run_id)
        listed = call.records.metrics.list_metrics(run_id, name, with_times=True)
        found += [_sent(run_id, metric) for metric in listed if metric.times_ms]
    return RunMetricPage(found)


def _logged(run_id: str, metric: RunMetric) -> LoggedTuple:
    kind = KINDS.get(metric.metric_type)
    if kind is None:
        raise InvalidValue("metricType", metric.metric_type, f"must be one of {', '.join(KINDS)}")
    at = time.time_ns() // 1_000_000 if metric.created_utc is None else time_of(metric.created_utc)
    if kind in FILE_KINDS:
        return metric.name, kind, {"": [path_of(run_id, metric.name, metric.data_location)]}, None, at
    columns: dict[str, list[Cell]] = {}
    for cell in metric.cells or ():
        for column, value in cell.items():
            columns.setdefault(column, []).append(value)
    if kind in GRID_KINDS:
        is_row = all(len(cells) == 1 for cells in columns.values())
        return metric.name, MetricKind.ROW if is_row else MetricKind.TABLE, columns, None, at
    values = [value for cells in columns.values() for value in cells]
    if kind is MetricKind.SCALAR and len(values) == 1:
        return metric.name, kind, values[0], None, at
    return metric.name, MetricKind.LIST, {"": values}, None, at


def _sent(run_id: str, metric: MetricRecord) -> RunMetric:
    is_file = metric.kind in FILE_KINDS
    is_grid = metric.kind in GRID_KINDS
    columns = {column if is_grid else metric.name: cells for column, cells in metric.columns.items()}
    cells: list[dict[str, Any]] = [
        {column: None if is_file else _finite(cell)} for column, cells in columns.items() for cell in cells
    ]
    kinds = [Property(column, column, _type_of(cells)) for column, cells in columns.items()]
    return RunMetric(
        name=metric.name,
        metric_type=UX_TYPES[metric.kind],
        created_utc=iso_time(metric.times_ms[0]),
        cells=cells,
        metric_id=f"{run_id}/{metric.name}",
        run_id=run_id,
        num_cells=len(cells),
        schema=Schema(len(kinds), kinds),
        data_location=artifact_id(run_id, str(metric.columns[""][-1])) if is_file else None,
        data_container_id=RUN_CONTAINER_PREFIX + run_id,
    )


def _finite(cell: Cell) -> Cell:
    """NaN and ±Inf as Python writes them.

    They can't be texts as in version 2 (`metric_kinds.finite`): there the SDK would turn only the first cell into a
    float, and return the others as texts.
    """
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _type_of(cells: list[Cell]) -> str:
    kinds = {type(cell) for cell in cells}
    if kinds == {int, float}:
        return "float"
    return next((name for kind, name in _TYPES if kinds <= {kind}), "string" if str in kinds else "none")
