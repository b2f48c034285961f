"""The series of runs at a glance: the last, the lowest and the highest value of each."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.search.extremes import are_current
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.sql.series_extremes import read_of_points
from mlflow_amlstore.records.tables import NAN, TEXT, runs, series
from mlflow_amlstore.records.types import MetricKind, MetricSummary

_NAN = float("nan")
_KINDS = {kind.value: kind for kind in MetricKind}
_SERIES = series.c
_SELECT = DriverStatement(
    select(
        runs.c.run_id,
        _SERIES.series_id,
        are_current(series),
        _SERIES.min_value,
        _SERIES.max_value,
        _SERIES.last_value_type,
        _SERIES.last_value,
        _SERIES.last_step,
        _SERIES.last_timestamp_ms,
        _SERIES.name,
        _SERIES.metric,
        _SERIES.column_name,
        _SERIES.kind,
    )
    .join(runs, _SERIES.run_pk == runs.c.run_pk)
    .where(runs.c.run_id.in_(texts_in()))
    .order_by(_SERIES.series_id),
    "keys",
)


def summaries_of_runs(driver: Driver, run_ids: Sequence[str]) -> dict[str, list[MetricSummary]]:
    """The series of these runs by run id, each run's in the order that they came."""
    found: dict[str, list[MetricSummary]] = {run_id: [] for run_id in run_ids}
    rows: Any = _SELECT.run(driver, key_list(list(run_ids))).fetchall()
    for run_id, series_id, is_current, lowest, highest, value_type, value, step, timestamp_ms, *names in rows:
        name, metric, column, kind = names
        if not is_current:
            lowest, highest = read_of_points(driver, series_id)
        if value_type == TEXT:
            value = step = timestamp_ms = None
        elif value_type == NAN:
            value = _NAN
        summary = MetricSummary(name, metric, column, _KINDS[kind], value, step, timestamp_ms, lowest, highest)
        found[run_id].append(summary)
    return found
