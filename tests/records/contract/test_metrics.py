"""Scalar metrics of any record store: latest points, histories, pages and samples."""

import math
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_amlstore.errors import InvalidValue, PageTokenInvalid
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import LoggedValues, MetricKind, MetricPoint

INF, NAN = math.inf, math.nan


def latest(records: RecordStore, run_id: str) -> dict[str, tuple[float, int, int]]:
    return {point.name: tuple(point[1:]) for point in records.runs.get(run_id).metrics}


def history(records: RecordStore, run_id: str, name: str = "m") -> list[tuple[float, int, int]]:
    return [tuple(point[1:]) for point in records.metrics.history(run_id, name).items]


def log(records: RecordStore, run_id: str, *points: tuple[float, int, int], name: str = "m") -> None:
    records.runs.log(run_id, points=[(name, *point) for point in points])


class TestValues:
    @pytest.mark.parametrize("value", [0.0, -1.5, 5e-324, 1.7976931348623157e308, INF, -INF, 2.0**60])
    def test_a_number_is_read_back_as_it_was(self, records: RecordStore, run_id: str, value: float) -> None:
        log(records, run_id, (value, 1, 2))
        assert history(records, run_id) == [(value, 1, 2)]
        assert latest(records, run_id) == {"m": (value, 1, 2)}

    def test_nan_is_read_back_as_nan(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (NAN, 1, 2))
        [(value, step, timestamp_ms)] = history(records, run_id)
        assert math.isnan(value)
        assert (step, timestamp_ms) == (1, 2)
        assert math.isnan(latest(records, run_id)["m"][0])

    @pytest.mark.parametrize(
        "value", [3, np.float32(3), np.float64(3), np.int64(3), np.uint8(3), np.array(3.0)[()], Fraction(3), Decimal(3)]
    )
    def test_any_kind_of_number_becomes_a_float(self, records: RecordStore, run_id: str, value: float) -> None:
        log(records, run_id, (value, np.int64(1), np.int64(2)))
        [point] = records.metrics.history(run_id, "m").items
        assert point == MetricPoint("m", 3.0, 1, 2)
        assert [type(part) for part in point] == [str, float, int, int]

    @pytest.mark.parametrize("value", [None, "1.0", 1j, [1.0], 10**400])
    def test_what_is_no_number_is_refused(self, records: RecordStore, run_id: str, value: object) -> None:
        with pytest.raises(InvalidValue, match="metric 'm'"):
            log(records, run_id, (1.0, 0, 0), (value, 1, 0))
        assert history(records, run_id) == []

    @pytest.mark.parametrize(("step", "timestamp_ms"), [(2**63, 0), (NAN, 0), ("1", 0), (None, 0), (0, -1), (0, None)])
    def test_a_bad_step_or_time_is_refused(
        self, records: RecordStore, run_id: str, step: int, timestamp_ms: int
    ) -> None:
        with pytest.raises(InvalidValue, match="of metric 'm': must be a 64-bit integer"):
            log(records, run_id, (1.0, 0, 0), (1.0, step, timestamp_ms))
        assert latest(records, run_id) == {}

    def test_steps_may_be_negative_and_as_large_as_64_bits(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (1.0, -(2**63) + 1, 0), (2.0, 2**63 - 1, 2**63 - 1))
        assert history(records, run_id) == [(1.0, -(2**63) + 1, 0), (2.0, 2**63 - 1, 2**63 - 1)]

    @pytest.mark.parametrize("name", ["a/b", "a b", "a.b-c_d:e", "Żółć", "x" * 250])
    def test_names_may_have_slashes_spaces_and_letters_of_any_script(
        self, records: RecordStore, run_id: str, name: str
    ) -> None:
        log(records, run_id, (1.0, 0, 0), name=name)
        assert history(records, run_id, name) == [(1.0, 0, 0)]


class TestLatest:
    def test_the_latest_point_has_the_highest_step_then_time_then_value(
        self, records: RecordStore, run_id: str
    ) -> None:
        log(records, run_id, (5.0, 2, 1))
        for earlier in [(9.0, 1, 9), (4.0, 2, 1), (9.0, 2, 0)]:
            log(records, run_id, earlier)
            assert latest(records, run_id)["m"] == (5.0, 2, 1)
        for later in [(6.0, 2, 1), (0.0, 2, 2), (-1.0, 3, 0)]:
            log(records, run_id, later)
            assert latest(records, run_id)["m"] == later

    def test_the_latest_of_a_batch_is_found_whatever_its_order(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (1.0, 5, 0), (2.0, 9, 0), (3.0, 7, 0))
        assert latest(records, run_id) == {"m": (2.0, 9, 0)}

    def test_each_run_and_each_name_has_its_own(self, records: RecordStore, run_id: str) -> None:
        records.runs.create("0", run_id="other")
        log(records, run_id, (1.0, 0, 0), name="a")
        log(records, run_id, (2.0, 0, 0), name="A")
        log(records, "other", (3.0, 0, 0), name="a")
        assert latest(records, run_id) == {"a": (1.0, 0, 0), "A": (2.0, 0, 0)}
        assert latest(records, "other") == {"a": (3.0, 0, 0)}


class TestHistory:
    def test_a_point_logged_again_is_kept_once(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (1.0, 0, 0), (1.0, 0, 0), (NAN, 0, 0), (NAN, 0, 0))
        log(records, run_id, (1.0, 0, 0), (NAN, 0, 0), (1.0, 0, 1))
        assert [repr(point) for point in history(records, run_id)] == ["(nan, 0, 0)", "(1.0, 0, 0)", "(1.0, 0, 1)"]

    def test_points_come_by_time_then_step_then_value(self, records: RecordStore, run_id: str) -> None:
        ordered = [(9.0, 9, 1), (-INF, 1, 2), (1.0, 1, 2), (2.0, 1, 2), (INF, 1, 2), (0.0, 2, 2), (0.0, 0, 3)]
        log(records, run_id, *reversed(ordered))
        assert history(records, run_id) == ordered

    def test_a_metric_that_was_not_logged_has_an_empty_history(self, records: RecordStore, run_id: str) -> None:
        assert history(records, run_id, "nothing") == []
        assert history(records, "gone") == []

    @pytest.mark.parametrize("sent", [str.__str__, lambda token: token], ids=["as text", "in this process"])
    def test_pages_give_all_points_once(self, records: RecordStore, run_id: str, sent: Callable[[str], str]) -> None:
        log(records, run_id, *[(float(step % 3), 9 - step, step % 2) for step in range(10)], (NAN, 3, 7), (INF, 3, 7))
        paged, token = [], None
        while True:
            page = records.metrics.history(run_id, "m", max_results=3, page_token=token)
            paged += page.items
            if page.next_token is None:
                break
            assert len(page.items) == 3
            token = sent(page.next_token)
        assert repr(paged) == repr(records.metrics.history(run_id, "m").items)
        assert len(paged) == 12

    def test_reading_a_history_in_pages_costs_about_what_reading_it_whole_does(
        self, records: RecordStore, run_id: str
    ) -> None:
        count, pages = 100_000, 100
        records.metrics.log_values(run_id, [LoggedValues("m", MetricKind.LIST, {"": [0.5] * count}, None, 0)])

        began = time.process_time()
        assert len(records.metrics.history(run_id, "m").items) == count
        whole = time.process_time() - began
        found, token = 0, None
        began = time.process_time()
        for _ in range(pages):
            page = records.metrics.history(run_id, "m", max_results=count // pages, page_token=token)
            found, token = found + len(page.items), page.next_token
        in_pages = time.process_time() - began

        assert (found, token) == (count, None)
        assert in_pages < 5 * whole  # a sort for each page would take some twenty times as long

    def test_the_last_full_page_has_no_token(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (1.0, 0, 0), (2.0, 1, 0))
        assert records.metrics.history(run_id, "m", max_results=2).next_token is None

    def test_points_added_between_pages_neither_repeat_nor_hide_any(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(0.0, step, step) for step in range(10, 20)])
        first = records.metrics.history(run_id, "m", max_results=4)
        log(records, run_id, (0.0, 1, 1), (0.0, 30, 30))
        rest = records.metrics.history(run_id, "m", max_results=100, page_token=first.next_token)
        assert [point.step for point in [*first.items, *rest.items]] == [*range(10, 20), 30]

    def test_a_page_token_serves_its_own_history_only(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (1.0, 0, 0), (2.0, 1, 0))
        token = records.metrics.history(run_id, "m", max_results=1).next_token
        for name, bad in [("other", token), ("m", "nonsense"), ("m", "e30=")]:
            with pytest.raises(PageTokenInvalid, match="start again without a page token"):
                records.metrics.history(run_id, name, max_results=1, page_token=bad)

    @pytest.mark.parametrize("max_results", [0, -1])
    def test_a_page_holds_at_least_one_point(self, records: RecordStore, run_id: str, max_results: int) -> None:
        with pytest.raises(InvalidValue, match="max_results"):
            records.metrics.history(run_id, "m", max_results=max_results)

    def test_histories_of_runs_come_by_run_up_to_a_limit(self, records: RecordStore) -> None:
        for name in ("b", "a", "c"):
            records.runs.create("0", run_id=name)
            log(records, name, (1.0, 0, 1), (2.0, 1, 0))

        found = records.metrics.history_of_runs(["b", "a", "b", "gone"], "m", max_results=3)

        assert found == [
            ("a", MetricPoint("m", 2.0, 1, 0)),
            ("a", MetricPoint("m", 1.0, 0, 1)),
            ("b", MetricPoint("m", 2.0, 1, 0)),
        ]
        assert len(records.metrics.history_of_runs(["b", "a", "c"], "m", max_results=100)) == 6
        assert records.metrics.history_of_runs([], "m", max_results=100) == []

    def test_points_at_steps_come_by_step_up_to_a_limit(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(float(step), step, 9 - step) for step in range(5)], (0.5, 3, 0))
        assert [tuple(point[1:]) for point in records.metrics.at_steps(run_id, "m", [3, 1, 99, 3], max_results=10)] == [
            (1.0, 1, 8),
            (0.5, 3, 0),
            (3.0, 3, 6),
        ]
        assert len(records.metrics.at_steps(run_id, "m", range(5), max_results=2)) == 2
        assert len(records.metrics.at_steps(run_id, "m", range(100_000), max_results=10)) == 6
        assert records.metrics.at_steps(run_id, "m", [], max_results=10) == []


class TestSample:
    def steps(self, records: RecordStore, run_id: str, count: int, steps: tuple[int, int] | None = None) -> list[int]:
        return [point.step for point in records.metrics.sample(run_id, "m", max_results=count, steps=steps)]

    def test_a_sample_is_evenly_spaced_with_both_ends(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(0.0, step, 0) for step in range(100)])
        assert self.steps(records, run_id, 5) == [0, 20, 40, 60, 99]
        assert self.steps(records, run_id, 2) == [0, 99]
        assert self.steps(records, run_id, 1) == [99]

    def test_fewer_points_than_asked_for_come_all(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(0.0, step, 0) for step in range(3)])
        assert self.steps(records, run_id, 3) == self.steps(records, run_id, 10) == [0, 1, 2]
        assert self.steps(records, "gone", 10) == []

    def test_a_range_of_steps_includes_its_ends(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(0.0, step, 0) for step in range(100)])
        assert self.steps(records, run_id, 3, (10, 15)) == [10, 12, 15]
        assert self.steps(records, run_id, 3, (99, 200)) == [99]
        assert self.steps(records, run_id, 3, (200, 300)) == []

    def test_many_points_of_one_step_are_sampled_too(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, *[(float(index), 0, index) for index in range(50)])
        found = records.metrics.sample(run_id, "m", max_results=4)
        assert [point.value for point in found] == [0.0, 13.0, 26.0, 49.0]

    def test_ends_that_are_nan_are_kept(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, (NAN, 0, 0), *[(0.0, step, 0) for step in range(1, 9)], (NAN, 9, 0))
        found = records.metrics.sample(run_id, "m", max_results=3)
        assert [repr(point.value) for point in found] == ["nan", "0.0", "nan"]
        assert [point.step for point in found] == [0, 4, 9]

    @given(
        points=st.lists(
            st.tuples(st.sampled_from([0.0, 1.0, NAN, INF]), st.integers(-3, 3), st.integers(0, 3)),
            max_size=30,
        ),
        count=st.integers(1, 12),
    )
    @settings(max_examples=40, deadline=None)
    def test_a_sample_has_at_most_as_many_points_as_asked_for_and_the_ends_of_its_history(
        self, shared_records: RecordStore, points: list[tuple[float, int, int]], count: int
    ) -> None:
        run_id = shared_records.runs.create("0").info.run_id
        log(shared_records, run_id, *points)

        found = [repr(point) for point in shared_records.metrics.sample(run_id, "m", max_results=count)]

        by_step = records_by_step(shared_records, run_id)
        assert len(found) == len(set(found)) == min(count, len(by_step))
        assert [point for point in by_step if point in found] == found
        if by_step:
            assert found[-1] == by_step[-1]
        if count > 1 and by_step:
            assert found[0] == by_step[0]


def records_by_step(records: RecordStore, run_id: str) -> list[str]:
    """A history by step, then time, then value, NaN counting as 0 and after it."""
    points = records.metrics.history(run_id, "m").items
    keys = {
        repr(point): (point.step, point.timestamp_ms, 0.0 if math.isnan(point.value) else point.value,
                      math.isnan(point.value))
        for point in points
    }  # fmt: skip
    return sorted(keys, key=keys.__getitem__)
