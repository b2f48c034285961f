"""Histories of metrics, one run's or several's."""

from collections.abc import Sequence
from math import isfinite

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import MetricPoint, PointColumns
from mlflow_amlstore.service.mlflow_api.fields import Given, Metric, OfRun, number
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)

# MLflow's own limits (`mlflow.server.handlers`).
_MAX_RUNS = 100
_MAX_POINTS = 25_000
_MAX_SAMPLES_PER_RUN = 2500


class GetMetricHistory(OfRun, kw_only=True):
    """The metric of a run, and which page of it."""

    metric_key: Given
    page_token: str | None = None
    max_results: int | None = None


class GetMetricHistoryBulk(msgspec.Struct):
    """`run_id` may be given several times."""

    metric_key: Given
    run_id: list[str]
    max_results: int = _MAX_POINTS


class GetMetricHistoryBulkInterval(msgspec.Struct):
    """Both steps or neither are given; `max_results` is per run."""

    metric_key: Given
    run_ids: list[str]
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = _MAX_SAMPLES_PER_RUN


class MetricOfRun(msgspec.Struct, frozen=True, gc=False):
    """A point with the run that it is of."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of a metric's points."""

    metrics: list[Metric] = []
    next_page_token: str | None = None


class HistoryOfRuns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Points of one metric in several runs."""

    metrics: list[MetricOfRun] = []


@routes.get("/api/2.0/mlflow/metrics/get-history", Role.READER, Right.TRACK, is_long=True)
def get_metric_history(call: Call, body: GetMetricHistory) -> History:
    """Return a metric's points by time; all of them unless `max_results` says how many are a page."""
    page = call.records.metrics.history(
        body.run, body.metric_key, max_results=body.max_results, page_token=body.page_token or None
    )
    token = page.next_token
    return History(_metrics(page.items), token if token is None else str(token))  # msgspec takes no kind of `str`


@routes.get("/api/2.0/mlflow/metrics/get-history-bulk", Role.READER, Right.TRACK, is_long=True)
def get_metric_history_bulk(call: Call, body: GetMetricHistoryBulk) -> HistoryOfRuns:
    """Return a metric's points in several runs, by run and time."""
    _check_runs(body.run_id)
    if body.max_results < 1:
        raise InvalidValue("max_results", body.max_results, "must be a positive integer")
    limit = min(body.max_results, _MAX_POINTS)
    found = call.records.metrics.history_of_runs(body.run_id, body.metric_key, max_results=limit)
    return HistoryOfRuns([_metric_of_run(run_id, point) for run_id, point in found])


@routes.get("/api/2.0/mlflow/metrics/get-history-bulk-interval", Role.READER, Right.TRACK, is_long=True)
def get_metric_history_bulk_interval(call: Call, body: GetMetricHistoryBulkInterval) -> HistoryOfRuns:
    """Return evenly spaced points of a metric in several runs, within an interval of steps if given."""
    _check_runs(body.run_ids)
    if not 1 <= body.max_results <= _MAX_SAMPLES_PER_RUN:
        raise InvalidValue("max_results", body.max_results, f"must be between 1 and {_MAX_SAMPLES_PER_RUN}")
    steps = _steps(body.start_step, body.end_step)
    return HistoryOfRuns(
        [
            _metric_of_run(run_id, point)
            for run_id in body.run_ids
            for point in call.records.metrics.sample(run_id, body.metric_key, max_results=body.max_results, steps=steps)
        ]
    )


def _check_runs(run_ids: Sequence[str]) -> None:
    if not 1 <= len(run_ids) <= _MAX_RUNS:
        raise InvalidValue("run_ids", run_ids, f"between 1 and {_MAX_RUNS} runs must be named; they are {len(run_ids)}")


def _steps(start: int | None, end: int | None) -> tuple[int, int] | None:
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InvalidValue("start_step, end_step", (start, end), "give both or neither")
    if start > end:
        raise InvalidValue("end_step", end, f"must not be less than start_step, which is {start}")
    return start, end


def _metric_of_run(run_id: str, point: MetricPoint) -> MetricOfRun:
    return MetricOfRun(point.name, number(point.value), point.timestamp_ms, point.step, run_id)


def _metrics(points: Sequence[MetricPoint]) -> list[Metric]:
    if not isinstance(points, PointColumns):
        return [Metric(name, number(value), timestamp_ms, step) for name, value, step, timestamp_ms in points]
    values: Sequence[float | str] = points.values
    if not isfinite(sum(points.values)):  # misses none that isn't finite, at a fraction of the time
        values = [number(value) for value in points.values]
    name = points.name
    return [
        Metric(name, value, timestamp_ms, step)
        for value, timestamp_ms, step in zip(values, points.timestamps_ms, points.steps, strict=True)
    ]
