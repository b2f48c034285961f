"""Curves: of each column of a metric the first, lowest, highest and last point, compared with a plain reduction."""

import math
import random
from collections.abc import Sequence

import pytest

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.curves import curve_of_history
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Curve, LoggedValues, MetricKind

INF, NAN = math.inf, math.nan
Point = tuple[float, int, int]  # value, step, time


def log(records: RecordStore, run_id: str, points: Sequence[Point], name: str = "m") -> None:
    for start in range(0, len(points), 1000):
        records.runs.log(run_id, points=[(name, *point) for point in points[start : start + 1000]])


def curve(records: RecordStore, run_id: str = "run", **given: object) -> Curve:
    [found] = records.metrics.curves([run_id], "m", **{"columns": 10, **given})
    return found


def drawn(found: Curve) -> list[tuple[int, float | None]]:
    return list(zip(found.xs, found.ys, strict=True))


def expected(points: Sequence[Point], columns: int, axis: str, window: tuple[int, int] | None = None) -> Curve:
    """The same, point by point."""
    place = 1 if axis == "step" else 2
    ordered = sorted(
        ((point[place], point[3 - place], point[0]) for point in set(points)),
        key=lambda point: (point[0], point[1], 0.0 if math.isnan(point[2]) else point[2]),  # as what NaN is stored
    )
    low, high = window or (ordered[0][0], ordered[-1][0])
    inside = [(x, y) for x, _, y in ordered if low <= x <= high]
    count = min(columns, high - low + 1)
    by_column: dict[int, list[tuple[int, float]]] = {}
    for x, y in inside:
        by_column.setdefault((x - low) * count // (high - low + 1), []).append((x, y))
    xs_ys: list[tuple[int, float | None]] = []
    infinities: list[tuple[int, int]] = []
    for column in sorted(by_column):
        of_column = by_column[column]
        finite = [point for point in of_column if math.isfinite(point[1])]
        kept = {*finite[:1], *finite[-1:]}
        kept |= {choose(finite, key=lambda p: p[1]) for choose in (min, max) if finite}
        is_broken = False
        for x, y in of_column:
            if math.isnan(y) and not is_broken:  # the first NaN after each point that is drawn
                xs_ys.append((x, None))
                is_broken = True
            elif (x, y) in kept:
                xs_ys.append((x, y))
                is_broken = False
        for sign in (1, -1):
            infinities += [(x, sign) for x, y in of_column if y == sign * INF][:1]
    finite = [point for point in inside if math.isfinite(point[1])]
    lowest = min(finite, key=lambda p: p[1], default=None)
    highest = max(finite, key=lambda p: p[1], default=None)
    return Curve(
        "run",
        len(ordered),
        len(inside),
        [x for x, _ in xs_ys],
        [y for _, y in xs_ys],
        sorted(infinities),
        lowest,
        highest,
    )


def random_points(kind: str, seed: int) -> list[Point]:
    rng = random.Random(seed)
    count = rng.choice([60, 700, 2500])
    special = [NAN, INF, -INF] if kind in ("special", "huge") else []
    points: list[Point] = []
    for number in range(count):
        step = number if kind != "repeated" else number // 7
        if kind == "sparse":
            step = rng.randrange(-(10**15), 10**15)
        elif kind == "huge":
            step = rng.randrange(1 - 2**63, 2**63)
        value = rng.choice(special) if special and rng.random() < 0.1 else rng.gauss(0, 1)
        points.append((value, step, 1_000_000 + number * 10 + rng.randrange(25)))
    return points


class TestReduction:
    @pytest.mark.parametrize("axis", ["step", "time"])
    @pytest.mark.parametrize("kind", ["plain", "special", "repeated", "sparse", "huge"])
    @pytest.mark.parametrize("seed", range(4))
    def test_each_column_gives_its_first_lowest_highest_and_last_point(
        self, records: RecordStore, run_id: str, axis: str, kind: str, seed: int
    ) -> None:
        points = random_points(kind, seed)
        log(records, run_id, points)
        for columns in (3, 8, 14):
            found, wanted = curve(records, columns=columns, x=axis), expected(points, columns, axis)
            assert (found.points_in_all, found.points_in_window) == (wanted.points_in_all, wanted.points_in_window)
            assert (found.minimum, found.maximum) == (wanted.minimum, wanted.maximum)
            assert found.xs == sorted(found.xs)
            if found.points_in_window > 4 * columns:
                assert drawn(found) == drawn(wanted)
                assert sorted(found.infinities) == wanted.infinities

    @pytest.mark.parametrize("axis", ["step", "time"])
    def test_a_window_is_reduced_on_its_own(self, records: RecordStore, run_id: str, axis: str) -> None:
        points = random_points("special", 9)
        log(records, run_id, points)
        xs = sorted(point[1 if axis == "step" else 2] for point in points)
        window = (xs[len(xs) // 4], xs[len(xs) // 2])
        found, wanted = curve(records, columns=5, x=axis, window=window), expected(points, 5, axis, window)
        assert (found.points_in_all, found.points_in_window) == (wanted.points_in_all, wanted.points_in_window)
        assert (drawn(found), sorted(found.infinities)) == (drawn(wanted), wanted.infinities)

    def test_a_line_breaks_wherever_a_nan_lies_between_two_points_that_are_drawn(
        self, records: RecordStore, run_id: str
    ) -> None:
        values = [5.0, NAN, NAN, 1.0, 2.0, 3.0, NAN, 9.0, 6.0, NAN, 7.0, NAN]
        log(records, run_id, [(value, step, 1) for step, value in enumerate(values)])
        found = curve(records, columns=1)
        assert drawn(found) == [(0, 5), (1, None), (3, 1), (6, None), (7, 9), (9, None), (10, 7), (11, None)]

    def test_points_of_one_step_are_one_column(self, records: RecordStore, run_id: str) -> None:
        values = [4.0, 1.0, 8.0, 5.0, 3.0]
        log(records, run_id, [(value, 7, time) for time, value in enumerate(values)])
        assert curve(records, columns=1).ys == [4.0, 1.0, 8.0, 3.0]
        log(records, run_id, [(2.0 + time / 1000, 7, 5 + time) for time in range(1000)])
        found = curve(records, columns=3)
        assert (found.points_in_window, set(found.xs)) == (1005, {7})
        assert found.ys == [4.0, 1.0, 8.0, 2.999]
        assert (found.minimum, found.maximum) == ((7, 1.0), (7, 8.0))

    @pytest.mark.parametrize("axis", ["step", "time"])
    def test_texts_between_numbers_are_no_points(self, records: RecordStore, run_id: str, axis: str) -> None:
        cells = [0.5, "a", 2, True, None, -1.5] * 60
        values = [LoggedValues("m", MetricKind.SCALAR, cell, None, at) for at, cell in enumerate(cells)]
        records.metrics.log_values(run_id, values)
        found = curve(records, columns=2, x=axis)
        assert (found.points_in_all, found.points_in_window) == (240, 240)
        assert drawn(found) == [
            *((0, 0.5), (2, 2.0), (5, -1.5), (179, -1.5)),
            *((180, 0.5), (182, 2.0), (185, -1.5), (359, -1.5)),
        ]

    def test_few_points_come_single(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, [(value, step, 5) for step, value in enumerate([1.0, NAN, 3.0, INF, -INF, 2.0])])
        found = curve(records, columns=2)
        assert list(zip(found.xs, found.ys, strict=True)) == [(0, 1.0), (1, None), (2, 3.0), (5, 2.0)]
        assert found.infinities == [(3, 1), (4, -1)]
        assert (found.minimum, found.maximum) == ((0, 1.0), (2, 3.0))

    def test_every_spike_is_there(self, records: RecordStore, run_id: str) -> None:
        """Each of 500 spikes, most of them small, is the extreme of its surroundings, so it is drawn."""
        rng = random.Random(4)
        values = [0.001 * math.sin(step) for step in range(40_000)]
        spikes = rng.sample(range(40_000), 500)
        for step in spikes:
            values[step] += rng.choice([-1, 1]) * (0.01 + rng.random() ** 8)
        log(records, run_id, [(value, step, 1) for step, value in enumerate(values)])
        found = drawn(curve(records, columns=400))
        for step in spikes:
            around = values[max(0, step - 100) : step + 101]
            if values[step] in (min(around), max(around)):
                assert (step, values[step]) in found


class TestOf:
    def test_steps_from_one_end_of_64_bits_to_the_other(self, records: RecordStore, run_id: str) -> None:
        ends = (-(2**63) + 1, 2**63 - 1)
        log(records, run_id, [(float(number), step, 1) for number, step in enumerate((ends[0], 0, ends[1]))])
        assert (found := curve(records, columns=2)).xs == [ends[0], 0, ends[1]]
        assert found.maximum == (ends[1], 2.0)

    def test_runs_share_one_range_and_those_without_the_metric_have_no_curve(self, records: RecordStore) -> None:
        for number, run_id in enumerate(("a", "b", "c")):
            records.runs.create("0", run_id=run_id)
            if run_id != "b":
                log(records, run_id, [(1.0, step, 1) for step in range(number * 100, number * 100 + 50)])
        found = records.metrics.curves(["c", "b", "a", "unknown"], "m", columns=5)
        assert [each.run_id for each in found] == ["c", "a"]
        assert [each.xs for each in found] == [[200, 249], [0, 49]]  # a column each: all are equal

    def test_texts_have_no_curve(self, records: RecordStore, run_id: str) -> None:
        records.metrics.log_values(run_id, [LoggedValues("m", MetricKind.SCALAR, text, None, 1) for text in "ab"])
        assert (found := curve(records)).xs == []
        assert (found.points_in_all, found.minimum) == (0, None)

    def test_a_column_of_a_table_is_drawn_by_its_row(self, records: RecordStore, run_id: str) -> None:
        cells = {"x": [1.0, 2.0], "y": [3.0, 4.0]}
        records.metrics.log_values(run_id, [LoggedValues("t", MetricKind.TABLE, cells, None, 1)])
        [found] = records.metrics.curves([run_id], "t.y", columns=10)
        assert (found.xs, found.ys) == ([0, 1], [3.0, 4.0])

    @pytest.mark.parametrize("given", [{"columns": 0}, {"columns": 10**6}, {"window": (2, 1)}])
    def test_what_is_no_window_is_refused(self, records: RecordStore, run_id: str, given: dict[str, object]) -> None:
        with pytest.raises(InvalidValue):
            curve(records, **given)


class TestOfRun:
    """Several series of one run, as what shows a run draws them."""

    def test_each_is_as_it_is_asked_alone(self, records: RecordStore, run_id: str) -> None:
        rng = random.Random(5)
        log(records, run_id, [(rng.gauss(0, 1), step, step) for step in range(5000)], "noise")
        log(records, run_id, [(1.0, 0, 1), (NAN, 1, 2), (INF, 2, 3)], "odd")
        found = records.metrics.curves_of_run(run_id, ["odd", "none", "noise", "odd"], columns=50)
        assert [each.name for each in found] == ["odd", "noise"]
        for each in found:
            [alone] = records.metrics.curves([run_id], each.name, columns=50)
            assert (each.curve, each.metric, each.column, each.kind) == (alone, each.name, "", MetricKind.SCALAR)
        assert [each.last_value for each in found] == [1.0, found[1].curve.ys[-1]]

    def test_points_of_one_step_lie_over_their_times(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, [(1.0, 7, 100), (3.0, 7, 200), (2.0, 7, 400)])
        log(records, run_id, [(1.0, 7, 100)], "single")
        by_time, single = records.metrics.curves_of_run(run_id, ["m", "single"], columns=50)
        assert drawn(by_time.curve) == [(100, 1.0), (200, 3.0), (400, 2.0)]
        assert drawn(single.curve) == [(7, 1.0)]

    def test_a_column_of_a_table_is_named_with_it_and_text_is_left_out(self, records: RecordStore, run_id: str) -> None:
        columns = {"x": [1, 2], "name": ["a", "b"]}
        records.metrics.log_values(run_id, [LoggedValues("grid", MetricKind.TABLE, columns, None, 1)])
        [found] = records.metrics.curves_of_run(run_id, ["grid.x", "grid.name"], columns=50)
        assert (found.name, found.metric, found.column, found.kind) == ("grid.x", "grid", "x", MetricKind.TABLE)

    @pytest.mark.parametrize("count", [3, 40_000])
    def test_a_whole_history_gives_the_same(self, records: RecordStore, run_id: str, count: int) -> None:
        """What a client draws of a workspace that has only histories."""
        rng = random.Random(count)
        special = [NAN, INF, -INF]
        points = [(rng.choice(special) if rng.random() < 0.01 else rng.gauss(0, 1), n, n) for n in range(count)]
        log(records, run_id, points)
        [found] = records.metrics.curves_of_run(run_id, ["m"], columns=50)
        assert curve_of_history(run_id, records.metrics.history(run_id, "m").items, columns=50) == found.curve
