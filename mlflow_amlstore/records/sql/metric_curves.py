"""Metrics as they are drawn (`records.curves`), from the database.

The points of a series lie by step. Where columns of steps have many points, the database is asked for each column's
extremes and their places, and the points never leave it; where they have few, or the columns are of time, the points
are read and reduced by `records.curves`.
"""

from array import array
from collections.abc import Sequence
from itertools import islice, pairwise
from math import inf, nan
from operator import gt
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, bindparam, case, func, literal_column, select

from mlflow_amlstore.records.curves import Reduced, column_starts, reduce_points
from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import NUMBER, TEXT, points, runs, series
from mlflow_amlstore.records.types import Curve
from mlflow_amlstore.records.validation import MAX_INT64

Axis = Literal["step", "time"]
_MANY_IN_COLUMN = 200  # from here on, asking for a column's extremes is faster than reading its points
_ALL_TIMES = (0, MAX_INT64)
_FETCHED_ROWS = 500  # fewer than start a garbage collection

_POINT = points.c
_OF_SERIES = (_POINT.series_id == bindparam("series"), _POINT.value_type != literal_column(str(TEXT)))
_OF_COLUMN = (*_OF_SERIES, _POINT.step >= bindparam("first"), _POINT.step <= bindparam("last"))
_Y = case((_POINT.value_type == literal_column(str(NUMBER)), _POINT.value))  # NULL is NaN
_BY_STEP = (_POINT.step, _POINT.timestamp_ms, _POINT.value, _POINT.value_type, _POINT.seq)
_BACKWARDS = [column.desc() for column in _BY_STEP]


def _one(statement: Select[Any]) -> Select[Any]:
    return statement.limit(literal_column("1")).offset(literal_column("0"))  # SQLAlchemy would bind this 0 for SQLite


_SELECT_SERIES = DriverStatement(
    select(runs.c.run_id, series.c.series_id)
    .join(runs, series.c.run_pk == runs.c.run_pk)
    .where(runs.c.run_id.in_(texts_in()), series.c.name == bindparam("metric")),
    "keys",
    "metric",
)
_COUNT = DriverStatement(select(func.count()).where(*_OF_SERIES), "series")
_SELECT_FIRST_STEP = DriverStatement(_one(select(_POINT.step).where(*_OF_SERIES).order_by(*_BY_STEP)), "series")
_SELECT_LAST_STEP = DriverStatement(_one(select(_POINT.step).where(*_OF_SERIES).order_by(*_BACKWARDS)), "series")
_SELECT_TIMES = DriverStatement(
    select(func.min(_POINT.timestamp_ms), func.max(_POINT.timestamp_ms)).where(*_OF_SERIES), "series"
)
_SELECT_BY_STEP = DriverStatement(
    select(_POINT.step, _Y).where(*_OF_COLUMN).order_by(*_BY_STEP), "series", "first", "last"
)
_HAS_MORE_THAN = DriverStatement(
    select(_POINT.step).where(*_OF_COLUMN).limit(literal_column("1")).offset(bindparam("few")),
    "series", "first", "last", "few",
)  # fmt: skip
_SELECT_WITH_TIMES = DriverStatement(
    select(_POINT.timestamp_ms, _Y)
    .where(*_OF_SERIES, _POINT.timestamp_ms >= bindparam("first"), _POINT.timestamp_ms <= bindparam("last"))
    .order_by(*_BY_STEP),
    "series", "first", "last",
)  # fmt: skip


def _of_column(statement: Any, *more: ColumnElement[bool], names: Sequence[str] = ()) -> DriverStatement:
    return DriverStatement(statement.where(*_OF_COLUMN, *more), "series", "first", "last", *names)


_PLACE = select(_POINT.step, _POINT.timestamp_ms, _POINT.value, _POINT.seq)
_SELECT_COLUMN = _of_column(
    select(func.count(), func.max(_POINT.value_type), func.min(_POINT.value), func.max(_POINT.value))
)
_SELECT_ALL_OF_COLUMN = _of_column(select(_POINT.step, _Y).order_by(*_BY_STEP))
_SELECT_FIRST = _of_column(_one(_PLACE.order_by(*_BY_STEP)))
_SELECT_LAST = _of_column(_one(_PLACE.order_by(*_BACKWARDS)))
_SELECT_FIRST_OF_VALUE = _of_column(
    _one(_PLACE.order_by(*_BY_STEP)), _POINT.value == bindparam("value"), names=["value"]
)


def curves(
    driver: Driver, run_ids: Sequence[str], name: str, *, columns: int, x: Axis, window: tuple[int, int] | None
) -> list[Curve]:
    """The curves of a metric of these runs, in their order; a run without the metric has none."""
    ids: dict[str, int] = dict(_SELECT_SERIES.run(driver, key_list(list(run_ids)), name).fetchall())
    wanted = {run_id: ids[run_id] for run_id in run_ids if run_id in ids}
    if x == "time":
        return _curves_of_time(driver, wanted, columns, window)
    return _curves_of_steps(driver, wanted, columns, window)


def _curves_of_steps(
    driver: Driver, wanted: dict[str, int], columns: int, window: tuple[int, int] | None
) -> list[Curve]:
    ends = {series_id: _steps(driver, series_id) for series_id in wanted.values()}
    shown = window or _around([both for both in ends.values() if both is not None])
    found = []
    for run_id, series_id in wanted.items():
        both = ends[series_id]
        reduced = Reduced()
        if both is not None:
            _reduce_steps(driver, series_id, shown, columns, reduced)
        if both is None or (shown[0] <= both[0] and both[1] <= shown[1]):
            in_all = reduced.count
        else:
            (in_all,) = _COUNT.run(driver, series_id).fetchone()
        found.append(reduced.curve(run_id, in_all))
    return found


def _steps(driver: Driver, series_id: int) -> tuple[int, int] | None:
    """The lowest and the highest step of a series; None where it has no numbers."""
    first = _SELECT_FIRST_STEP.run(driver, series_id).fetchone()
    return None if first is None else (first[0], _SELECT_LAST_STEP.run(driver, series_id).fetchone()[0])


def _around(ends: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min((first for first, _ in ends), default=0), max((last for _, last in ends), default=0)


def _reduce_steps(driver: Driver, series_id: int, shown: tuple[int, int], columns: int, reduced: Reduced) -> None:
    if _HAS_MORE_THAN.run(driver, series_id, *shown, _MANY_IN_COLUMN * columns).fetchone() is None:
        xs, ys = _read(_SELECT_BY_STEP.run(driver, series_id, *shown))
        reduce_points(xs, ys, shown, columns, reduced)
        return
    for start, following in pairwise(column_starts(shown, columns)):
        where = (series_id, start, following - 1)
        count, highest_type, lowest, highest = _SELECT_COLUMN.run(driver, *where).fetchone()
        if not count:
            continue
        if highest_type != NUMBER or lowest == -inf or highest == inf:
            reduced.add_any(*zip(*_SELECT_ALL_OF_COLUMN.run(driver, *where).fetchall(), strict=True))
            continue
        places = (
            _SELECT_FIRST.run(driver, *where).fetchone(),
            _SELECT_FIRST_OF_VALUE.run(driver, *where, lowest).fetchone(),
            _SELECT_FIRST_OF_VALUE.run(driver, *where, highest).fetchone(),
            _SELECT_LAST.run(driver, *where).fetchone(),
        )
        reduced.add_places(places, count)


def _curves_of_time(
    driver: Driver, wanted: dict[str, int], columns: int, window: tuple[int, int] | None
) -> list[Curve]:
    shown = window
    if shown is None and len(wanted) > 1:
        ends = [_SELECT_TIMES.run(driver, series_id).fetchone() for series_id in wanted.values()]
        shown = _around([both for both in ends if both[0] is not None])
    found = []
    for run_id, series_id in wanted.items():
        xs, ys = _read_any_number(_SELECT_WITH_TIMES.run(driver, series_id, *(shown or _ALL_TIMES)))
        shown = shown or _around([(xs[0], xs[-1])] if xs else [])
        reduced = Reduced()
        reduce_points(xs, ys, shown, columns, reduced)
        in_all = reduced.count
        if window is not None:
            (in_all,) = _COUNT.run(driver, series_id).fetchone()
        found.append(reduced.curve(run_id, in_all))
    return found


def _read(cursor: Any) -> tuple[list[int], list[float | None]]:
    """Points (x, y) that come in the order of x."""
    xs: list[int] = []
    ys: list[float | None] = []
    while rows := cursor.fetchmany(_FETCHED_ROWS):
        new_xs, new_ys = zip(*rows, strict=True)
        xs += new_xs
        ys += new_ys
    return xs, ys


def _read_any_number(cursor: Any) -> tuple[Sequence[int], Sequence[float | None]]:
    """Points (x, y) by x, those of one x as they come; in arrays, a quarter of a list's memory."""
    xs, ys, has_nan = array("q"), array("d"), False
    while rows := cursor.fetchmany(_FETCHED_ROWS):
        new_xs, new_ys = zip(*rows, strict=True)
        if None in new_ys:
            has_nan = True
            new_ys = tuple(nan if y is None else y for y in new_ys)
        xs.extend(new_xs)
        ys.extend(new_ys)
    if any(map(gt, xs, islice(xs, 1, None))):
        order = sorted(range(len(xs)), key=xs.__getitem__)
        xs, ys = array("q", [xs[place] for place in order]), array("d", [ys[place] for place in order])
    return xs, [None if y != y else y for y in ys] if has_nan else ys
