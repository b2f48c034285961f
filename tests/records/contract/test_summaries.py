"""The last, lowest and highest value of each metric, which are kept as it is logged, and sort runs."""

import math
import random
from collections.abc import Callable

import pytest
from sqlalchemy import select

from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.tables import series
from mlflow_amlstore.records.types import LoggedValues, MetricKind, MetricSummary

INF, NAN = math.inf, math.nan


def summary(records: RecordStore, run_id: str, name: str = "m") -> MetricSummary:
    [found] = [each for each in records.metrics.summaries([run_id])[run_id] if each.name == name]
    return found


def by_mlflow(records: RecordStore, run_id: str, values: list[float]) -> None:
    records.runs.log(run_id, points=[("m", value, step, 1) for step, value in enumerate(values)])


def one_by_one(records: RecordStore, run_id: str, values: list[float]) -> None:
    for step, value in enumerate(values):
        records.runs.log(run_id, points=[("m", value, step, 1)])


def by_run(records: RecordStore, run_id: str, values: list[float]) -> None:
    records.metrics.log_values(run_id, [LoggedValues("m", MetricKind.SCALAR, value, None, 1) for value in values])


def as_list(records: RecordStore, run_id: str, values: list[float]) -> None:
    records.metrics.log_values(run_id, [LoggedValues("m", MetricKind.LIST, {"": values}, None, 1)])


ways = pytest.mark.parametrize("way", [by_mlflow, one_by_one, by_run, as_list])
Way = Callable[[RecordStore, str, list[float]], None]


class TestExtremes:
    @ways
    @pytest.mark.parametrize(
        ("values", "lowest", "highest"),
        [
            ([2.0, 1.0, 3.0], 1.0, 3.0),
            ([1.0], 1.0, 1.0),
            ([NAN, 2.0, NAN], 2.0, 2.0),
            ([NAN], None, None),
            ([INF], INF, INF),
            ([-INF, 0.0, INF], -INF, INF),
        ],
        ids=str,
    )
    def test_they_are_over_all_numbers(
        self, records: RecordStore, run_id: str, way: Way, values: list[float], lowest: float, highest: float
    ) -> None:
        way(records, run_id, values)
        found = summary(records, run_id)
        assert (found.minimum, found.maximum) == (lowest, highest)
        assert found.last_value == values[-1] or math.isnan(values[-1])

    @ways
    def test_they_grow_as_more_is_logged(self, records: RecordStore, run_id: str, way: Way) -> None:
        rng = random.Random(1)
        logged: list[float] = []
        for _ in range(5):
            logged += (values := [rng.gauss(0, 1) for _ in range(rng.randrange(1, 30))])
            way(records, run_id, values)
            found = summary(records, run_id)
            assert (found.minimum, found.maximum) == (min(logged), max(logged))

    def test_a_point_before_the_latest_may_be_the_lowest(self, records: RecordStore, run_id: str) -> None:
        records.runs.log(run_id, points=[("m", 1.0, 10, 5)])
        records.runs.log(run_id, points=[("m", -1.0, 3, 4)])
        found = summary(records, run_id)
        assert (found.last_value, found.last_step, found.minimum, found.maximum) == (1.0, 10, -1.0, 1.0)

    def test_texts_have_none(self, records: RecordStore, run_id: str) -> None:
        records.metrics.log_values(run_id, [LoggedValues("m", MetricKind.SCALAR, "text", None, 1)])
        found = summary(records, run_id)
        assert (found.last_value, found.last_step, found.minimum, found.maximum) == (None, None, None, None)

    def test_a_table_has_those_of_each_column(self, records: RecordStore, run_id: str) -> None:
        cells = {"x": [1.0, 5.0], "word": ["a", "b"]}
        records.metrics.log_values(run_id, [LoggedValues("t", MetricKind.TABLE, cells, None, 1)])
        found = records.metrics.summaries([run_id])[run_id]
        assert [(each.name, each.metric, each.column, each.kind) for each in found] == [
            ("t.x", "t", "x", MetricKind.TABLE),
            ("t.word", "t", "word", MetricKind.TABLE),
        ]
        assert [(each.minimum, each.maximum) for each in found] == [(1.0, 5.0), (None, None)]

    @pytest.mark.parametrize("following", [None, 4.0], ids=["nothing since", "a point since"])
    def test_what_a_process_logged_that_keeps_none_counts(
        self, records: RecordStore, run_id: str, following: float | None
    ) -> None:
        """It moves the latest point and leaves the extremes as they were."""
        by_mlflow(records, run_id, [2.0, 3.0])
        records.runs.log(run_id, points=[("m", 9.0, 2, 1)])
        with records._database.write() as connection:
            connection.execute(series.update().values(max_value=3.0, extremes_step=1))
        if following is not None:
            records.runs.log(run_id, points=[("m", following, 3, 1)])
        assert (found := summary(records, run_id)).maximum == 9.0
        assert found.minimum == 2.0
        assert records.metrics.summaries(["unknown"]) == {"unknown": []}

    @pytest.mark.parametrize("following", [None, 4.0], ids=["nothing since", "a value since"])
    def test_what_run_logged_there_counts_too(self, records: RecordStore, run_id: str, following: float | None) -> None:
        """Such a process counts on the number of its values, even where they aren't the latest."""
        by_run(records, run_id, [2.0, 3.0, 9.0])
        with records._database.write() as connection:
            connection.execute(series.update().values(max_value=3.0, extremes_seq=2))
        if following is not None:
            by_run(records, run_id, [following])
        assert (found := summary(records, run_id)).maximum == 9.0
        assert found.minimum == 2.0

    def test_once_set_right_they_need_no_points(self, records: RecordStore, run_id: str) -> None:
        by_mlflow(records, run_id, [2.0, 9.0])
        with records._database.write() as connection:
            connection.execute(series.update().values(max_value=None, extremes_step=None))
        records.runs.log(run_id, points=[("m", 1.0, 0, 0)])  # not the latest
        with records._database.read() as connection:
            kept = connection.execute(select(series.c.min_value, series.c.max_value, series.c.extremes_step)).one()
        assert tuple(kept) == (1.0, 9.0, 1)


class TestSorting:
    def test_extremes_out_of_date_are_taken_from_the_points(self, records: RecordStore) -> None:
        for run_id, value in (("a", 1.0), ("b", 2.0)):
            records.runs.create("0", run_id=run_id)
            by_mlflow(records, run_id, [value])
        with records._database.write() as connection:
            connection.execute(series.update().where(series.c.max_value == 2.0).values(max_value=0.0, extremes_step=-1))
        order = [Ordering(Entity.METRIC, "m", of=Of.MAX)]
        assert [run.info.run_id for run in records.runs.search(["0"], order_by=order).items] == ["a", "b"]

    @pytest.mark.parametrize("is_descending", [False, True])
    @pytest.mark.parametrize("of", [Of.MIN, Of.MAX])
    def test_runs_sort_by_a_metrics_extremes_those_without_last(
        self, records: RecordStore, of: Of, is_descending: bool
    ) -> None:
        values = {"a": [1.0, 9.0], "b": [5.0], "c": [NAN], "d": [0.5, 3.0], "e": None}
        for run_id, logged in values.items():
            records.runs.create("0", run_id=run_id)
            if logged is not None:
                by_mlflow(records, run_id, logged)
        order = [Ordering(Entity.METRIC, "m", is_descending, of)]
        pages, token = [], None
        while True:
            page = records.runs.search(None, order_by=order, max_results=2, page_token=token)
            pages += [run.info.run_id for run in page.items]
            if (token := page.next_token) is None:
                break
        by_value = sorted("abd", key=lambda run: (min if of is Of.MIN else max)(values[run]), reverse=is_descending)
        assert pages[:3] == by_value
        assert sorted(pages[3:]) == ["c", "e"]
