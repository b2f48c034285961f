"""`/curves.json` and `/runs/ID/metrics/NAME.json`: what a chart of lines draws, as many columns as it has pixels."""

import math
from urllib.parse import unquote

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Curve, RunInfo
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.STUDIO)
_MOST_COLUMNS = 4000
_MOST_RUNS = 200
_MOST_METRICS = 50
_BY_METRIC = "metric:"


class Window(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Which part of a metric, and how finely.

    `points` is the number of columns that the part is divided into; each gives its first, lowest, highest and last
    point. `x` is step, time (ms since 1970, UTC) or `metric:NAME`, another metric's value at the same step. `from` and
    `to` are of it, both included, of steps where `x` is a metric; without them, all.
    """

    points: int = 800
    x: str = "step"
    start: int | None = None
    end: int | None = None


class ManyCurves(Window, frozen=True):
    """A metric of many runs, whose ids have commas between.

    `group` is a param: the runs that have the same value of it are one curve, their mean.
    """

    metric: str = ""
    runs: str = ""
    group: str = ""


class ManyMetrics(Window, frozen=True):
    """Metrics of one run, with commas between, so each is percent-encoded first."""

    metrics: str = ""


class CurveData(msgspec.Struct, frozen=True):
    """One run's curve. `y` is null where NaN was logged, `infinite` has `[x, 1]` or `[x, -1]` for ±Inf.

    `points_in_window` counts the points that the curve stands for. `minimum` and `maximum` are `[x, y]`. Where runs are
    grouped, `y` is the mean of `runs` runs, `low` and `high` a standard deviation below and above it.
    """

    run_id: str
    run_name: str
    started_ms: int | None
    points_in_all: int
    points_in_window: int
    x: list[int | float]
    y: list[float | None]
    infinite: list[tuple[int, int]] = []
    minimum: tuple[int, float] | None = None
    maximum: tuple[int, float] | None = None
    low: list[float] | None = None
    high: list[float] | None = None
    runs: int | None = None


class Curves(msgspec.Struct, frozen=True):
    """A metric's curves, in the order that the runs were given."""

    metric: str
    x: str
    description: str
    curves: list[CurveData]


@ROUTES.get("/curves.json", Role.READER, Right.LOOK, is_long=True)
def curves(call: Call, body: ManyCurves) -> Curves:
    """Give a metric's curves of many runs; a run without the metric has none."""
    run_ids = list(dict.fromkeys(each for each in body.runs.split(",") if each))
    if len(run_ids) > _MOST_RUNS:
        raise InvalidValue("runs", f"{len(run_ids)} of them", f"must be {_MOST_RUNS} at most")
    if body.group and body.x != "step":
        raise InvalidValue("x", body.x, "must be step where runs are grouped")
    if body.group:
        return _means(call.records, run_ids, body)
    return _curves(call.records, run_ids, body.metric, body)


@ROUTES.get("/runs/{run_id}/metrics/{metric}.json", Role.READER, Right.LOOK, is_long=True)
def curve(call: Call, body: Window) -> Curves:
    """Give a metric's curve of one run: of each of `points` columns the first, lowest, highest and last point."""
    return _curves(call.records, [call.path["run_id"]], call.path["metric"], body)


@ROUTES.get("/runs/{run_id}/curves.json", Role.READER, Right.LOOK, is_long=True)
def curves_of_run(call: Call, body: ManyMetrics) -> Curves:
    """Give many metrics' curves of one run, to be drawn on one y axis; each is called by its metric."""
    run_id, names = call.records.runs.get(call.path["run_id"]).info.run_id, parse_metrics(body.metrics)
    found = [_curves(call.records, [run_id], name, body).curves for name in names]
    drawn = [
        msgspec.structs.replace(each, run_id=name, run_name=name)
        for name, curves in zip(names, found, strict=True)
        for each in curves
    ]
    return Curves(", ".join(names), body.x, "", drawn)


def parse_metrics(text: str) -> list[str]:
    """Read a list of metrics as an address has it. Raises InvalidValue for more than fifty."""
    names = list(dict.fromkeys(unquote(each) for each in text.split(",") if each))
    if len(names) > _MOST_METRICS:
        raise InvalidValue("metrics", f"{len(names)} of them", f"must be {_MOST_METRICS} at most")
    return names


def _curves(records: RecordStore, run_ids: list[str], metric: str, window: Window) -> Curves:
    across = window.x.removeprefix(_BY_METRIC) if window.x.startswith(_BY_METRIC) else ""
    if window.x not in ("step", "time") and not across:
        raise InvalidValue("x", window.x, "must be step, time or metric:NAME")
    part = _part(window)
    infos = {run_id: records.runs.get(run_id).info for run_id in run_ids}
    found = records.metrics.curves(
        run_ids, metric, columns=window.points, x="time" if window.x == "time" else "step", window=part
    )
    description = records.metrics.descriptions(run_ids[0]).get(metric, "") if len(run_ids) == 1 else ""
    return Curves(
        metric,
        window.x,
        description,
        [
            _over(records, each, infos[each.run_id], across) if across else _data(each, infos[each.run_id])
            for each in found
        ],
    )


def _data(curve: Curve, run: RunInfo) -> CurveData:
    return CurveData(
        run_id=curve.run_id,
        run_name=run.name,
        started_ms=run.start_ms,
        points_in_all=curve.points_in_all,
        points_in_window=curve.points_in_window,
        x=list(curve.xs),
        y=curve.ys,
        infinite=curve.infinities,
        minimum=curve.minimum,
        maximum=curve.maximum,
    )


def _over(records: RecordStore, curve: Curve, run: RunInfo, metric: str) -> CurveData:
    """A curve over another metric: its points at the steps that have a value of that, the last one of a step."""
    steps = list(dict.fromkeys(curve.xs))
    there = records.metrics.at_steps(curve.run_id, metric, steps, max_results=10 * len(steps) + 1)
    values = {point.step: point.value for point in there if math.isfinite(point.value)}
    places = [(values[x], y) for x, y in zip(curve.xs, curve.ys, strict=True) if x in values]
    return CurveData(
        run_id=curve.run_id,
        run_name=run.name,
        started_ms=run.start_ms,
        points_in_all=curve.points_in_all,
        points_in_window=curve.points_in_window,
        x=[x for x, _ in places],
        y=[y for _, y in places],
    )


def _part(window: Window) -> tuple[int, int] | None:
    if not 1 <= window.points <= _MOST_COLUMNS:
        raise InvalidValue("points", window.points, f"must be 1 to {_MOST_COLUMNS}")
    if (window.start is None) != (window.end is None):
        raise InvalidValue("from", window.start, "must be given with `to`, or neither of them")
    return None if window.start is None or window.end is None else (window.start, window.end)


def _means(records: RecordStore, run_ids: list[str], asked: ManyCurves) -> Curves:
    """One curve for each value of a param: the mean of the runs that have it."""
    grouped: dict[str, list[str]] = {}
    for run_id in run_ids:
        grouped.setdefault(records.runs.get(run_id).params.get(asked.group, ""), []).append(run_id)
    found = records.metrics.means(list(grouped.values()), asked.metric, columns=asked.points, window=_part(asked))
    curves = []
    for value, band in zip(grouped, found, strict=True):
        name = f"{asked.group} = {value or 'none'}, {band.runs} {'run' if band.runs == 1 else 'runs'}"
        curves.append(
            CurveData(
                run_id=f"{asked.group}={value}",
                run_name=name,
                started_ms=None,
                points_in_all=band.points,
                points_in_window=band.points,
                x=list(band.xs),
                y=list(band.means),
                low=[mean - off for mean, off in zip(band.means, band.deviations, strict=True)],
                high=[mean + off for mean, off in zip(band.means, band.deviations, strict=True)],
                runs=band.runs,
            )
        )
    return Curves(asked.metric, "step", "", [curve for curve in curves if curve.x])
