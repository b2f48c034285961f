"""Metrics whole, as the `Run` vocabulary sees them: vectors of values, and grids of rows with named columns."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, bindparam, literal_column, select

from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement, run_query
from mlflow_amlstore.records.sql.logged_values import read_cell
from mlflow_amlstore.records.tables import NUMBER, points, runs, series
from mlflow_amlstore.records.types import Cell, MetricKind, MetricRecord

_NAN = float("nan")
_KINDS = {kind.value: kind for kind in MetricKind}
_POINT = points.c

CELL = (_POINT.value, _POINT.value_type, _POINT.text, _POINT.step, _POINT.timestamp_ms, _POINT.seq)
"""What is read of a point."""
_BY_TIME = (_POINT.timestamp_ms, _POINT.seq, _POINT.step, _POINT.value, _POINT.value_type)
_BY_SEQ = (_POINT.seq, _POINT.timestamp_ms, _POINT.step, _POINT.value, _POINT.value_type)

CellRow = tuple[float, int, str | None, int, int, int]
_Row = tuple[bool, int, int]  # whether it has no column's name, its `seq`, and which it is of those that have this


class MetricColumn(NamedTuple):
    """One series of a metric: a grid's has a name; a vector's none, nor has that of MLflow's values in a grid."""

    name: str
    kind: MetricKind
    series_id: int
    last_seq: int

    @property
    def order(self) -> tuple[Column[Any], ...]:
        """The order in which its points were logged; no two have the same place in it."""
        return _BY_TIME if self.kind is MetricKind.SCALAR else _BY_SEQ


def _in_both_orders(*columns: ColumnElement[Any]) -> dict[bool, DriverStatement]:
    """Statements for a series' points by whether it is of scalars."""
    of_series = select(*columns).where(_POINT.series_id == bindparam("series"))
    orders = {True: _BY_TIME, False: _BY_SEQ}
    return {is_scalar: DriverStatement(of_series.order_by(*order), "series") for is_scalar, order in orders.items()}


_SELECT_CELLS = _in_both_orders(*CELL)
_SELECT_VALUES = _in_both_orders(_POINT.value)
_SELECT_SPECIAL = DriverStatement(
    select(literal_column("1")).where(
        _POINT.series_id == bindparam("series"),
        (_POINT.value_type != literal_column(str(NUMBER))) | _POINT.text.is_not(None),
    ),
    "series",
)


def series_of_metrics(driver: Driver, run_id: str, name: str | None) -> dict[str, list[MetricColumn]]:
    """The series of each metric of a run by its name, in the order that they came."""
    column = series.c
    statement = (
        select(column.metric, column.column_name, column.kind, column.series_id, column.last_seq)
        .join(runs, column.run_pk == runs.c.run_pk)
        .where(runs.c.run_id == run_id)
        .order_by(column.series_id)
    )
    if name is not None:
        statement = statement.where(column.metric == name)
    found: dict[str, list[MetricColumn]] = {}
    for metric, column_name, kind, *numbers in run_query(driver, statement):
        found.setdefault(metric, []).append(MetricColumn(column_name, _KINDS[kind], *numbers))
    return found


def kind_of(columns: Sequence[MetricColumn]) -> MetricKind:
    """A metric's kind: that of a grid, where MLflow has logged values under the grid's name, too."""
    return next((column.kind for column in columns if column.name), columns[0].kind)


def in_grid(columns: Sequence[MetricColumn]) -> list[MetricColumn]:
    """The columns of a grid in their order, last that of the values which MLflow logged under the grid's name."""
    return sorted(columns, key=lambda column: not column.name)


def all_cells(driver: Driver, column: MetricColumn) -> Iterable[CellRow]:
    """The points of a series, in their order."""
    return _SELECT_CELLS[column.kind is MetricKind.SCALAR].run(driver, column.series_id)


def values_of(driver: Driver, name: str, column: MetricColumn, *, max_rows: int | None = None) -> MetricRecord:
    """A vector, or the beginning of it, without times: most series are numbers alone, and of those only the values are
    fetched."""
    if _SELECT_SPECIAL.run(driver, column.series_id).fetchone() is not None:
        return vector(name, column, islice(all_cells(driver, column), max_rows))
    rows = _SELECT_VALUES[column.kind is MetricKind.SCALAR].run(driver, column.series_id)
    return MetricRecord(name, column.kind, {"": [value for (value,) in islice(rows, max_rows)]})


def vector(name: str, column: MetricColumn, points: Iterable[CellRow]) -> MetricRecord:
    """A metric of one series, of points in their order."""
    cells: list[Cell] = []
    steps, times_ms = [], []
    for value, value_type, text, step, timestamp_ms, _ in points:
        cells.append(value if value_type == NUMBER and text is None else read_cell(value, value_type, text))
        steps.append(step)
        times_ms.append(timestamp_ms)
    return MetricRecord(name, column.kind, {"": cells}, steps, times_ms)


def grid(
    name: str, columns: Sequence[MetricColumn], points_of: Callable[[MetricColumn], Iterable[CellRow]]
) -> MetricRecord:
    """The columns of rows or a table, of each one's points in their order, with NaN for a cell that a row lacks; last
    the values that MLflow logged under the grid's own name, as rows that have the column "" alone."""
    by_row: dict[str, dict[_Row, Cell]] = {}
    times: dict[_Row, tuple[int, int]] = {}
    for column in in_grid(columns):
        seen: Counter[int] = Counter()
        placed = by_row[column.name] = {}
        for value, value_type, text, step, timestamp_ms, seq in points_of(column):
            row = (not column.name, seq, seen[seq])  # points that MLflow logged into a column all have seq 0
            seen[seq] += 1
            placed[row] = read_cell(value, value_type, text)
            times.setdefault(row, (step, timestamp_ms))
    rows = sorted(times)
    cells = {column: [placed.get(row, _NAN) for row in rows] for column, placed in by_row.items()}
    steps, times_ms = [times[row][0] for row in rows], [times[row][1] for row in rows]
    return MetricRecord(name, kind_of(columns), cells, steps, times_ms)
