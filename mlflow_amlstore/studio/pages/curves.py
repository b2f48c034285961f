"""`/curves.json` and `/runs/ID/metrics/NAME.json`: what a chart of lines draws, as many columns as it has pixels."""

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.STUDIO)
_MOST_COLUMNS = 4000
_MOST_RUNS = 200


class Window(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Which part of a metric, and how finely.

    `points` is the number of columns that the part is divided into; each gives its first, lowest, highest and last
    point. `x` is step or time (ms since 1970, UTC); `from` and `to` are of it, both included; without them, all.
    """

    points: int = 800
    x: str = "step"
    start: int | None = None
    end: int | None = None


class ManyCurves(Window, frozen=True):
    """A metric of many runs, whose ids have commas between."""

    metric: str = ""
    runs: str = ""


class CurveData(msgspec.Struct, frozen=True):
    """One run's curve. `y` is null where NaN was logged, `infinite` has `[x, 1]` or `[x, -1]` for ±Inf.

    `points_in_window` counts the points that the curve stands for. `minimum` and `maximum` are `[x, y]`.
    """

    run_id: str
    run_name: str
    started_ms: int | None
    points_in_all: int
    points_in_window: int
    x: list[int]
    y: list[float | None]
    infinite: list[tuple[int, int]]
    minimum: tuple[int, float] | None
    maximum: tuple[int, float] | None


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
    return _curves(call.records, run_ids, body.metric, body)


@ROUTES.get("/runs/{run_id}/metrics/{metric}.json", Role.READER, Right.LOOK, is_long=True)
def curve(call: Call, body: Window) -> Curves:
    """Give a metric's curve of one run: of each of `points` columns the first, lowest, highest and last point."""
    return _curves(call.records, [call.path["run_id"]], call.path["metric"], body)


def _curves(records: RecordStore, run_ids: list[str], metric: str, window: Window) -> Curves:
    if not 1 <= window.points <= _MOST_COLUMNS:
        raise InvalidValue("points", window.points, f"must be 1 to {_MOST_COLUMNS}")
    if window.x not in ("step", "time"):
        raise InvalidValue("x", window.x, "must be step or time")
    if (window.start is None) != (window.end is None):
        raise InvalidValue("from", window.start, "must be given with `to`, or neither of them")
    part = None if window.start is None or window.end is None else (window.start, window.end)
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
            CurveData(
                run_id=each.run_id,
                run_name=infos[each.run_id].name,
                started_ms=infos[each.run_id].start_ms,
                points_in_all=each.points_in_all,
                points_in_window=each.points_in_window,
                x=each.xs,
                y=each.ys,
                infinite=each.infinities,
                minimum=each.minimum,
                maximum=each.maximum,
            )
            for each in found
        ],
    )
