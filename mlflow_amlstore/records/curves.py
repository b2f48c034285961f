"""A series as it is drawn, wherever that is: so many columns, of each the first, the lowest, the highest and the last
point, with gaps for NaN and marks for ±Inf.

So every point that would be seen is there, and a line through them covers the same pixels as one through all points.
Pure functions: `sql/metric_curves.py` lets the database do what it can of it, in this form.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite, isnan
from typing import Any

from mlflow_amlstore.records.types import Cell, Curve, MetricPoint

_IN_COLUMN_AT_MOST = 4  # so many points a column gives: where all columns had no more, all points come


class Reduced:
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
        """Add a column of so many finite numbers by its first, lowest, highest and last, of each (x, -, y, -), which
        sort as the points do."""
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


def curve_of_points(run_id: str, xs: Sequence[int], ys: Sequence[float | None], *, columns: int) -> Curve:
    """The curve of all these points, in order of x; None is NaN."""
    reduced = Reduced()
    if xs:
        reduce_points(xs, ys, (xs[0], xs[-1]), columns, reduced)
    return reduced.curve(run_id, reduced.count)


def curve_of_history(run_id: str, points: Sequence[MetricPoint], *, columns: int) -> Curve:
    """The curve of a whole history over its steps; over its times where all points have one step."""
    by_step = sorted(points, key=lambda point: (point.step, point.timestamp_ms))
    has_steps = bool(by_step) and by_step[0].step != by_step[-1].step
    xs = [point.step if has_steps else point.timestamp_ms for point in by_step]
    ys = [None if isnan(point.value) else point.value for point in by_step]
    return curve_of_points(run_id, xs, ys, columns=columns)


def is_at_one_x(curve: Curve) -> bool:
    """Whether all that is drawn lies at one x."""
    return len({*curve.xs, *(x for x, _ in curve.infinities)}) == 1


def curve_of_cells(cells: Sequence[Cell], *, columns: int) -> Curve:
    """The curve of values over their positions; what is no number is a gap, as NaN is."""
    ys = [float(cell) if isinstance(cell, float | int) and cell == cell else None for cell in cells]
    return curve_of_points("", range(len(ys)), ys, columns=columns)


def column_starts(shown: tuple[int, int], columns: int) -> Iterator[int]:
    """The lowest x of each column that has any, and the one after the last column's highest."""
    first, last = shown
    length = last - first + 1
    count = min(columns, length)
    return (first - (-number * length // count) for number in range(count + 1))


def reduce_points(
    xs: Sequence[int], ys: Sequence[float | None], shown: tuple[int, int], columns: int, reduced: Reduced
) -> None:
    """Reduce points in order of x, all in the window."""
    if len(xs) <= _IN_COLUMN_AT_MOST * columns:
        reduced.add_any(xs, ys, is_whole=True)
        return
    numbers: Any = None if None in ys else ys
    are_finite = numbers is not None and min(numbers) > -inf and max(numbers) < inf
    end = 0
    for _, following in pairwise(column_starts(shown, columns)):
        begin, end = end, bisect_left(xs, following, end)
        if begin == end:
            continue
        if are_finite:
            reduced.add_numbers(xs[begin:end], numbers[begin:end])
        else:
            reduced.add_any(xs[begin:end], ys[begin:end])
