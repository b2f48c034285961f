"""One series' numbers by time, whole or in pages.

The points of a series lie by step, so a page by time costs a sort of all that is left. What the sort for the second
page left is kept for the pages after it: else a history in pages would cost the square of its length.
"""

from array import array
from typing import Any, NamedTuple

from sqlalchemy import Select

from mlflow_amlstore.records.search.paging import SortTerm, after_key, decode_token, encode_token
from mlflow_amlstore.records.sql.driver_statement import Driver, run_query
from mlflow_amlstore.records.tables import NAN, points
from mlflow_amlstore.records.types import MetricPoint, Page, PointColumns

BY_TIME = (points.c.timestamp_ms, points.c.step, points.c.value, points.c.value_type, points.c.seq)
_FETCHED_ROWS = 500  # fewer than start a garbage collection


class _Columns(NamedTuple):
    """Points by time, in the columns `BY_TIME`: 33 bytes a point."""

    timestamps_ms: "array[int]"
    steps: "array[int]"
    values: "array[float]"
    value_types: "array[int]"
    seqs: "array[int]"

    def points(self, name: str, start: int, end: int | None) -> PointColumns:
        """Those from `start` to before `end`."""
        values = self.values[start:end]
        value_types = self.value_types[start:end]
        if NAN in value_types:
            for index, value_type in enumerate(value_types):
                if value_type == NAN:
                    values[index] = float("nan")
        return PointColumns(name, values, self.steps[start:end], self.timestamps_ms[start:end])


class _Token(str):
    """A page token that has the points after the page along, for who gives this very object back in this process."""

    kept: tuple[_Columns, int] | None = None
    """The points, and at which of them the next page begins; None with the first page's token."""


def history_page(
    driver: Driver,
    statement: Select[Any],
    name: str,
    *,
    max_results: int | None,
    page_token: str | None,
    query: str,
) -> Page[MetricPoint]:
    """A page of the series that `statement` selects the columns `BY_TIME` of. Raises PageTokenInvalid."""
    returned = page_token if isinstance(page_token, _Token) else None
    if page_token:
        key = decode_token(page_token, query, len(BY_TIME))
        statement = statement.where(after_key([SortTerm(column) for column in BY_TIME], key))
    if max_results is not None and returned is None:
        statement = statement.limit(max_results + 1)
    kept = returned.kept if returned is not None else None
    columns, start = kept or (_fetch(driver, statement.order_by(*BY_TIME)), 0)
    end = len(columns.steps) if max_results is None else start + max_results
    found = columns.points(name, start, end)
    if end >= len(columns.steps):
        return Page(found, None)
    token = _Token(encode_token(tuple(column[end - 1] for column in columns), query))
    if returned is not None:
        token.kept = columns, end
    return Page(found, token)


def _fetch(driver: Driver, statement: Select[Any]) -> _Columns:
    columns: list[array[Any]] = [array(code) for code in "qqdbq"]
    cursor = run_query(driver, statement)
    while rows := cursor.fetchmany(_FETCHED_ROWS):
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            column.extend(cells)
    return _Columns(*columns)
