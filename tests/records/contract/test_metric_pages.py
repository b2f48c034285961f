"""A metric in pages is the same metric as at once."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from mlflow_amlstore.errors import InvalidValue, PageTokenInvalid
from mlflow_amlstore.records.search.paging import encode_token, query_fingerprint
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Cell, MetricKind, MetricPage

AT = 1_700_000_000_000
NONE = type(None)


@pytest.fixture
def run_id(records: RecordStore) -> str:
    return records.runs.create("0").info.run_id


def log(records: RecordStore, run_id: str, kind: MetricKind, cells: Any, at: int = AT) -> None:
    records.metrics.log_values(run_id, [("m", kind, cells, None, at)])


def pages(records: RecordStore, run_id: str, max_rows: int, **more: Any) -> list[MetricPage]:
    found: list[MetricPage] = []
    token: str | None = None
    while token is not None or not found:
        page = records.metrics.page(run_id, "m", max_rows=max_rows, page_token=token, **more)
        assert page is not None
        found.append(page)
        token = page.next_token
    return found


def joined(found: Sequence[MetricPage], column: str = "") -> list[Cell]:
    return [cell for page in found for cell in page.metric.columns[column]]


class TestVectors:
    @pytest.mark.parametrize("max_rows", [1, 2, 3, 7, 100])
    def test_every_value_comes_once_in_the_order_it_was_logged(
        self, records: RecordStore, run_id: str, max_rows: int
    ) -> None:
        for number, value in enumerate((3, 0.5, "text", True, None, math.inf, 0.5)):
            log(records, run_id, MetricKind.SCALAR, value, AT - number // 2)
        records.runs.log(run_id, points=[("m", value, 5, AT) for value in (1.0, 0.0, math.nan)])
        [whole] = records.metrics.list_metrics(run_id, "m", with_times=True)
        found = pages(records, run_id, max_rows)

        assert repr(joined(found)) == repr(whole.columns[""])
        assert [step for page in found for step in page.metric.steps] == whole.steps
        assert [time for page in found for time in page.metric.times_ms] == whole.times_ms
        assert all(len(page.metric.steps) == max_rows for page in found[:-1])

    @pytest.mark.parametrize("values", [(3, 0.5, "text", True, None, math.inf), (0.5, math.nan, 1.5), ()])
    @pytest.mark.parametrize("max_rows", [1, 3, 100])
    def test_without_times_it_has_the_same_values_and_types(
        self, records: RecordStore, run_id: str, values: tuple[Cell, ...], max_rows: int
    ) -> None:
        for number, value in enumerate((0.25, *values)):
            log(records, run_id, MetricKind.SCALAR, value, AT - number // 2)
        timed, untimed = pages(records, run_id, max_rows), pages(records, run_id, max_rows, with_times=False)
        assert repr([joined([page]) for page in untimed]) == repr([joined([page]) for page in timed])
        assert [page.cell_types for page in untimed] == [page.cell_types for page in timed]

    def test_values_added_between_pages_neither_repeat_nor_hide_any(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, MetricKind.LIST, {"": [1, 2, 3]})
        first = records.metrics.page(run_id, "m", max_rows=2)
        assert first is not None
        log(records, run_id, MetricKind.LIST, {"": [4]})
        rest = records.metrics.page(run_id, "m", max_rows=2, page_token=first.next_token)
        assert rest is not None
        assert joined([first, rest]) == [1, 2, 3, 4]


class TestGrids:
    @pytest.mark.parametrize("max_rows", [1, 2, 3, 100])
    def test_every_row_comes_once_with_all_columns(self, records: RecordStore, run_id: str, max_rows: int) -> None:
        log(records, run_id, MetricKind.TABLE, {"x": [1, 2, 3], "y": ["a", "b", "c"]})
        log(records, run_id, MetricKind.ROW, {"x": [4], "z": [True]})
        records.runs.log(run_id, points=[("m.x", 0.5, step, AT) for step in range(2)])
        records.runs.log(run_id, points=[("m", 0.25, step, AT) for step in range(2)])
        [whole] = records.metrics.list_metrics(run_id, "m", with_times=True)
        found = pages(records, run_id, max_rows)

        assert list(whole.columns) == ["x", "y", "z", ""]
        for column, cells in whole.columns.items():
            assert repr(joined(found, column)) == repr(cells), column
        assert [time for page in found for time in page.metric.times_ms] == whole.times_ms


class TestTypes:
    def test_every_page_tells_the_types_on_all_of_them(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, MetricKind.LIST, {"": [1, True, "true", "1", None, math.nan]})
        assert [page.cell_types for page in pages(records, run_id, 2)] == [
            {"": frozenset({int, bool, str, NONE, float})}
        ] * 3

    def test_a_column_that_a_row_lacks_has_a_float_there(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, MetricKind.TABLE, {"x": [1, 2], "y": [1, 2]})
        log(records, run_id, MetricKind.ROW, {"x": [3]})
        assert pages(records, run_id, 1)[0].cell_types == {"x": frozenset({int}), "y": frozenset({int, float})}

    def test_what_mlflow_logs_under_a_grid_s_name_are_rows_without_its_columns(
        self, records: RecordStore, run_id: str
    ) -> None:
        log(records, run_id, MetricKind.TABLE, {"x": [1, 2], "y": ["a", "b"]})
        records.runs.log(run_id, points=[("m", 0.25, 0, AT)])
        types = {"x": frozenset({int, float}), "y": frozenset({str, float}), "": frozenset({float})}
        assert pages(records, run_id, 1)[0].cell_types == types

    def test_a_column_that_came_since_the_first_page_has_its_types_too(self, records: RecordStore, run_id: str) -> None:
        log(records, run_id, MetricKind.TABLE, {"x": [1, 2]})
        first = records.metrics.page(run_id, "m", max_rows=2)
        assert first is not None
        log(records, run_id, MetricKind.ROW, {"x": [3], "y": ["a"]})
        rest = records.metrics.page(run_id, "m", max_rows=2, page_token=first.next_token)
        assert rest is not None
        assert rest.cell_types == {"x": frozenset({int}), "y": frozenset({str, float})}


class TestTimes:
    def test_both_ends_are_included(self, records: RecordStore, run_id: str) -> None:
        for number in range(6):
            log(records, run_id, MetricKind.SCALAR, number, AT + number)
        assert joined(pages(records, run_id, 2, first_ms=AT + 1, last_ms=AT + 4)) == [1, 2, 3, 4]
        assert joined(pages(records, run_id, 2, first_ms=AT + 4)) == [4, 5]
        assert joined(pages(records, run_id, 2, last_ms=AT - 1)) == []

    def test_of_rows_too(self, records: RecordStore, run_id: str) -> None:
        for number in range(6):
            log(records, run_id, MetricKind.ROW, {"x": [number], "y": ["a"]}, AT + number)
        assert joined(pages(records, run_id, 2, first_ms=AT + 1, last_ms=AT + 4), "x") == [1, 2, 3, 4]


def test_a_name_that_was_never_logged_has_no_page(records: RecordStore, run_id: str) -> None:
    assert records.metrics.page(run_id, "m", max_rows=1) is None


@pytest.mark.parametrize("max_rows", [0, -1])
def test_a_page_has_at_least_one_row(records: RecordStore, run_id: str, max_rows: int) -> None:
    with pytest.raises(InvalidValue):
        records.metrics.page(run_id, "m", max_rows=max_rows)


@pytest.mark.parametrize("kind", [MetricKind.LIST, MetricKind.TABLE])
def test_a_token_is_good_for_its_own_metric_and_times_only(records: RecordStore, run_id: str, kind: MetricKind) -> None:
    column, len_of_key = ("", 5) if kind is MetricKind.LIST else ("x", 1)
    log(records, run_id, kind, {column: [1, 2, 3]})
    found = records.metrics.page(run_id, "m", max_rows=1)
    assert found is not None
    own = query_fingerprint(("metric", run_id, "m", None, None))
    for token, within in (
        (found.next_token, {"first_ms": 1}),
        ("9" * 5000, {}),
        ("x", {}),
        (encode_token((1,), own), {}),
        *[(encode_token((*[1] * len_of_key, types), own), {}) for types in ("never", 1, None)],
        *([(encode_token((wrong, "int"), own), {}) for wrong in (-1, "1", None)] if kind is MetricKind.TABLE else []),
    ):
        with pytest.raises(PageTokenInvalid):
            records.metrics.page(run_id, "m", max_rows=1, page_token=token, **within)
