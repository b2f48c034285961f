"""Metrics as they are drawn: so many columns, of each the first, the lowest, the highest and the last point.

So every point that would be seen is there, and a line through them covers the same pixels as one through all points.
The points of a series lie by step. Where columns of steps have many points, the database is asked for each column's
extremes and their places, and the points never leave it; where they have few, or the columns are of time, the points
are read and reduced here.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite, nan
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, bindparam, case, func, literal_column, select

from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.tables import NUMBER, TEXT, points, runs, series
from mlflow_amlstore.records.types import Curve
from mlflow_amlstore.records.validation import MAX_INT64

Axis = Literal["step", "time"]
_MANY_IN_COLUMN = 40  # from here on, asking for a column's extremes is faster than reading its points
_IN_COLUMN_AT_MOST = 4  # so many points a column gives: where all columns had no more, all points come
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
    select(_POINT.step, _Y)
    .where(*_OF_COLUMN)
    .order_by(*_BY_STEP)
    .limit(bindparam("limit"))
    .offset(literal_column("0")),
    "series", "first", "last", "limit",
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


class _Reduced:
    """What is drawn of one series, column by column."""

    def __init__(self) -> None:
        self.xs: list[int] = []
        self.ys: list[float | None] = []
        self.infinities: list[tuple[int, int]] = []
        self.count = 0
        self._lowest: tuple[int, float] = (0, inf)
        self._highest: tuple[int, float] = (0, -inf)

    def add_numbers(self, xs: Sequence[int], ys: Sequence[float]) -> None:
        """Add a column of finite numbers alone, in their order."""
        lowest, highest = min(ys), max(ys)
        at_lowest, at_highest, last = ys.index(lowest), ys.index(highest), len(ys) - 1
        for place in sorted({0, at_lowest, at_highest, last}):
            self.xs.append(xs[place])
            self.ys.append(ys[place])
        self._add_extremes((xs[at_lowest], lowest), (xs[at_highest], highest))
        self.count += len(ys)

    def add_any(self, xs: Sequence[int], ys: Sequence[float | None], *, is_whole: bool = False) -> None:
        """Add a column of any numbers, in their order; None is NaN. All of them where it `is_whole`.

        Between two that are drawn the first NaN is kept, and of the infinities the first of each sign.
        """
        finite = {place: y for place, y in enumerate(ys) if y is not None and isfinite(y)}
        drawn = set(finite)
        if finite:
            at_lowest, at_highest = min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
            self._add_extremes((xs[at_lowest], finite[at_lowest]), (xs[at_highest], finite[at_highest]))
            if not is_whole:
                drawn = {min(finite), at_lowest, at_highest, max(finite)}
        is_broken, signs = False, set()
        for place, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if place in drawn or (y is None and (is_whole or not is_broken)):
                self.xs.append(x)
                self.ys.append(y)
                is_broken = y is None
            elif y is not None and place not in finite:
                sign = 1 if y > 0 else -1
                if is_whole or sign not in signs:
                    self.infinities.append((x, sign))
                    signs.add(sign)
        self.count += len(ys)

    def add_places(self, places: Sequence[tuple[int, int, float, int]], count: int) -> None:
        """Add a column of so many finite numbers by its first, lowest, highest and last: `_PLACE` of each."""
        for step, _, value, _ in sorted(set(places)):
            self.xs.append(step)
            self.ys.append(value)
        _, lowest, highest, _ = ((step, value) for step, _, value, _ in places)
        self._add_extremes(lowest, highest)
        self.count += count

    def _add_extremes(self, lowest: tuple[int, float], highest: tuple[int, float]) -> None:
        if lowest[1] < self._lowest[1]:
            self._lowest = lowest
        if highest[1] > self._highest[1]:
            self._highest = highest

    def curve(self, run_id: str, points_in_all: int) -> Curve:
        """What was added, as a curve."""
        has_numbers = self._lowest[1] < inf
        extremes = (self._lowest, self._highest) if has_numbers else (None, None)
        return Curve(run_id, points_in_all, self.count, self.xs, self.ys, self.infinities, *extremes)


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
        reduced = _Reduced()
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


def _reduce_steps(driver: Driver, series_id: int, shown: tuple[int, int], columns: int, reduced: _Reduced) -> None:
    few = _MANY_IN_COLUMN * columns
    xs, ys = _read(_SELECT_BY_STEP.run(driver, series_id, *shown, few + 1))
    if len(xs) <= few:
        _reduce_here(xs, ys, shown, columns, reduced)
        return
    for start, following in pairwise(_starts(shown, columns)):
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
        xs, ys = _read(_SELECT_WITH_TIMES.run(driver, series_id, *(shown or _ALL_TIMES)))
        shown = shown or _around([(xs[0], xs[-1])] if xs else [])
        reduced = _Reduced()
        _reduce_here(xs, ys, shown, columns, reduced)
        in_all = reduced.count
        if window is not None:
            (in_all,) = _COUNT.run(driver, series_id).fetchone()
        found.append(reduced.curve(run_id, in_all))
    return found


def _read(cursor: Any) -> tuple[Sequence[int], Sequence[float | None]]:
    """Points (x, y) by x, those of one x as they come; in arrays, a quarter of a list's memory."""
    xs, ys, has_nan, is_sorted = array("q"), array("d"), False, True
    while rows := cursor.fetchmany(_FETCHED_ROWS):
        new_xs, new_ys = zip(*rows, strict=True)
        is_sorted = is_sorted and new_xs == tuple(sorted(new_xs)) and (not xs or xs[-1] <= new_xs[0])
        if None in new_ys:
            has_nan = True
            new_ys = tuple(nan if y is None else y for y in new_ys)
        xs.extend(new_xs)
        ys.extend(new_ys)
    if not is_sorted:
        order = sorted(range(len(xs)), key=xs.__getitem__)
        xs, ys = array("q", [xs[place] for place in order]), array("d", [ys[place] for place in order])
    return xs, [None if y != y else y for y in ys] if has_nan else ys


def _starts(shown: tuple[int, int], columns: int) -> Iterator[int]:
    """The lowest x of each column that has any, and the one after the last column's highest."""
    first, last = shown
    length = last - first + 1
    count = min(columns, length)
    return (first - (-number * length // count) for number in range(count + 1))


def _reduce_here(
    xs: Sequence[int], ys: Sequence[float | None], shown: tuple[int, int], columns: int, reduced: _Reduced
) -> None:
    """Reduce points in order of x, all in the window."""
    if len(xs) <= _IN_COLUMN_AT_MOST * columns:
        reduced.add_any(xs, ys, is_whole=True)
        return
    numbers: Any = None if None in ys else ys
    are_finite = numbers is not None and min(numbers) > -inf and max(numbers) < inf
    end = 0
    for _, following in pairwise(_starts(shown, columns)):
        begin, end = end, bisect_left(xs, following, end)
        if begin == end:
            continue
        if are_finite:
            reduced.add_numbers(xs[begin:end], numbers[begin:end])
        else:
            reduced.add_any(xs[begin:end], ys[begin:end])
