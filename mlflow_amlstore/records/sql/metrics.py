"""Metric histories in SQL: implements `records.store.Metrics`."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal_column, select

from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.search.paging import (
    SortTerm,
    after_key,
    decode_token,
    encode_token,
    query_fingerprint,
)
from mlflow_amlstore.records.sql.driver_statement import DriverStatement, key_list, keys_in, run_query
from mlflow_amlstore.records.sql.logged_values import LoggedGroup, read_cell
from mlflow_amlstore.records.tables import NUMBER, TEXT, points, runs, series
from mlflow_amlstore.records.types import (
    GRID_KINDS,
    Cell,
    LoggedTuple,
    LoggedValues,
    MetricKind,
    MetricPoint,
    MetricRecord,
    Page,
    PointColumns,
)
from mlflow_amlstore.records.validation import check_integer, check_max_results

_NAN = float("nan")
_KINDS = {kind.value: kind for kind in MetricKind}
_BY_TIME = (points.c.timestamp_ms, points.c.step, points.c.value, points.c.value_type, points.c.seq)
_BY_STEP = (points.c.step, points.c.timestamp_ms, points.c.value, points.c.value_type, points.c.seq)


_CELL = (points.c.value, points.c.value_type, points.c.text, points.c.step, points.c.timestamp_ms, points.c.seq)
_ORDERS = {
    "by_time": (points.c.timestamp_ms, points.c.seq, points.c.step, points.c.value),  # of scalars
    "by_seq": (points.c.seq, points.c.timestamp_ms, points.c.step, points.c.value),  # of all else
}


def _in_both_orders(*columns: ColumnElement[Any]) -> dict[str, DriverStatement]:
    of_series = select(*columns).where(points.c.series_id == bindparam("series"))
    return {name: DriverStatement(of_series.order_by(*order), "series") for name, order in _ORDERS.items()}


_SELECT_CELLS = _in_both_orders(*_CELL)
_SELECT_VALUES = _in_both_orders(points.c.value)
_SELECT_SPECIAL = DriverStatement(
    select(literal_column("1")).where(
        points.c.series_id == bindparam("series"),
        (points.c.value_type != literal_column(str(NUMBER))) | points.c.text.is_not(None),
    ),
    "series",
)


class SqlMetrics:
    """Histories of the metrics of one workspace's runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(
        self, run_id: str, name: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[MetricPoint]:
        query = query_fingerprint(("history", run_id, name))
        statement = _of_series(run_id, name, points.c.seq).order_by(*_BY_TIME)
        if page_token:
            key = decode_token(page_token, query, len(_BY_TIME))
            statement = statement.where(after_key([SortTerm(column) for column in _BY_TIME], key))
        if max_results is not None:
            statement = statement.limit(check_max_results(max_results) + 1)
        columns = PointColumns(name)
        row, token = None, None
        with self._database.read() as connection:
            cursor = run_query(driver_connection(connection), statement)
            for row in islice(cursor, max_results):
                columns.append(row[0] if row[3] == NUMBER else _NAN, row[1], row[2])
            if row is not None and cursor.fetchone() is not None:
                value, step, timestamp_ms, value_type, seq = row
                token = encode_token((timestamp_ms, step, value, value_type, seq), query)
        return Page(columns, token)

    def history_of_runs(self, run_ids: Sequence[str], name: str, *, max_results: int) -> list[tuple[str, MetricPoint]]:
        found: list[tuple[str, MetricPoint]] = []
        with self._database.read() as connection:
            for run_id in sorted(set(run_ids)):
                statement = _of_series(run_id, name).order_by(*_BY_TIME).limit(max_results - len(found))
                found += [(run_id, point) for point in _points(connection, statement, name)]
                if len(found) >= max_results:
                    break
        return found

    def at_steps(self, run_id: str, name: str, steps: Sequence[int], *, max_results: int) -> list[MetricPoint]:
        wanted = {check_integer("step", step) for step in steps}
        statement = (
            _of_series(run_id, name)
            .where(points.c.step.in_(keys_in().params(keys=key_list(sorted(wanted)))))
            .order_by(*_BY_STEP)
            .limit(max_results)
        )
        with self._database.read() as connection:
            return _points(connection, statement, name)

    def sample(
        self, run_id: str, name: str, *, max_results: int, steps: tuple[int, int] | None = None
    ) -> list[MetricPoint]:
        """As MLflow's SQL store: the first point of each of `max_results` equal buckets, and the very last point."""
        max_results = max(1, max_results)
        bucket = func.ntile(max_results).over(order_by=_BY_STEP).label("bucket")
        inner = _of_series(run_id, name, points.c.seq, bucket)
        if steps is not None:
            inner = inner.where(points.c.step.between(*steps))
        bucketed = inner.subquery().c
        by_step = [bucketed[column.name] for column in _BY_STEP]
        rank = func.row_number().over(partition_by=bucketed.bucket, order_by=by_step).label("rank")
        ranked = select(*bucketed, rank).subquery().c
        firsts = select(ranked.value, ranked.step, ranked.timestamp_ms, ranked.value_type).where(ranked.rank == 1)
        last = _of_series(run_id, name).order_by(*[column.desc() for column in _BY_STEP]).limit(1)
        if steps is not None:
            last = last.where(points.c.step.between(*steps))
        with self._database.read() as connection:
            sampled = _points(connection, firsts.order_by(ranked.bucket), name)
            ends = _points(connection, last, name)
        if ends and repr(sampled[-1]) != repr(ends[0]):  # repr, because NaN differs from itself
            sampled[max_results - 1 :] = ends
        return sampled

    def log_values(
        self, run_id: str, logged: Sequence[LoggedValues | LoggedTuple], *, write_id: str | None = None
    ) -> int:
        group = LoggedGroup(logged)
        with self._database.write() as connection:  # which says for certain whether it was committed: no id is needed
            group.write(connection, run_id)
        return len(logged)

    def list_names(self, run_id: str) -> list[tuple[str, MetricKind]]:
        with self._database.read() as connection:
            found = _series_of_metrics(driver_connection(connection), run_id, None)
        return [(name, _kind_of(columns)) for name, columns in found.items()]

    def list_metrics(self, run_id: str, name: str | None = None, *, with_times: bool = False) -> list[MetricRecord]:
        vector = _timed_vector if with_times else _vector
        with self._database.read() as connection:
            driver = driver_connection(connection)
            found = _series_of_metrics(driver, run_id, name)
            return [
                _grid(driver, metric, columns)
                if _kind_of(columns) in GRID_KINDS
                else vector(driver, metric, columns[0])
                for metric, columns in found.items()
            ]


class _Column(NamedTuple):
    """One series of a metric: a grid's has a name; a vector's none, nor has that of MLflow's values in a grid."""

    name: str
    kind: MetricKind
    series_id: int


_Row = tuple[bool, int, int]  # whether it has no column's name, its `seq`, and which it is of those that have this


def _series_of_metrics(driver: sqlite3.Connection, run_id: str, name: str | None) -> dict[str, list[_Column]]:
    """The series of each metric of a run by its name, in the order that they came."""
    column = series.c
    statement = (
        select(column.metric, column.column_name, column.kind, column.series_id)
        .join(runs, column.run_pk == runs.c.run_pk)
        .where(runs.c.run_id == run_id)
        .order_by(column.series_id)
    )
    if name is not None:
        statement = statement.where(column.metric == name)
    found: dict[str, list[_Column]] = {}
    for metric, column_name, kind, series_id in run_query(driver, statement):
        found.setdefault(metric, []).append(_Column(column_name, _KINDS[kind], series_id))
    return found


def _kind_of(columns: Sequence[_Column]) -> MetricKind:
    """A metric's kind: that of a grid, where MLflow has logged values under the grid's name, too."""
    return next((column.kind for column in columns if column.name), columns[0].kind)


def _vector(driver: sqlite3.Connection, name: str, column: _Column) -> MetricRecord:
    """Without times: most series are numbers alone, and of those only the values are fetched."""
    if _SELECT_SPECIAL.run(driver, column.series_id).fetchone() is not None:
        return _timed_vector(driver, name, column)
    order = "by_time" if column.kind is MetricKind.SCALAR else "by_seq"
    rows = _SELECT_VALUES[order].run(driver, column.series_id)
    return MetricRecord(name, column.kind, {"": [value for (value,) in rows]})


def _timed_vector(driver: sqlite3.Connection, name: str, column: _Column) -> MetricRecord:
    order = "by_time" if column.kind is MetricKind.SCALAR else "by_seq"
    cells: list[Cell] = []
    steps, times_ms = [], []
    for value, value_type, text, step, timestamp_ms, _ in _SELECT_CELLS[order].run(driver, column.series_id):
        cells.append(value if value_type == NUMBER and text is None else read_cell(value, value_type, text))
        steps.append(step)
        times_ms.append(timestamp_ms)
    return MetricRecord(name, column.kind, {"": cells}, steps, times_ms)


def _grid(driver: sqlite3.Connection, name: str, columns: Sequence[_Column]) -> MetricRecord:
    """The columns of rows or a table, with NaN for a cell that a row lacks; last the values that MLflow logged under
    the grid's own name, as rows that have the column "" alone."""
    by_row: dict[str, dict[_Row, Cell]] = {}
    times: dict[_Row, tuple[int, int]] = {}
    for column in sorted(columns, key=lambda column: not column.name):
        seen: Counter[int] = Counter()
        placed = by_row[column.name] = {}
        for value, value_type, text, step, timestamp_ms, seq in _SELECT_CELLS["by_seq"].run(driver, column.series_id):
            row = (not column.name, seq, seen[seq])  # points that MLflow logged into a column all have seq 0
            seen[seq] += 1
            placed[row] = read_cell(value, value_type, text)
            times.setdefault(row, (step, timestamp_ms))
    rows = sorted(times)
    cells = {column: [placed.get(row, _NAN) for row in rows] for column, placed in by_row.items()}
    steps, times_ms = [times[row][0] for row in rows], [times[row][1] for row in rows]
    return MetricRecord(name, _kind_of(columns), cells, steps, times_ms)


def _of_series(run_id: str, name: str, *more: ColumnElement[Any]) -> Select[Any]:
    """The numeric points of one series: value, step, time and value type, and what more is asked for."""
    key = (
        select(series.c.series_id)
        .join(runs, series.c.run_pk == runs.c.run_pk)
        .where(runs.c.run_id == run_id, series.c.name == name)
        .scalar_subquery()
    )
    column = points.c
    return select(column.value, column.step, column.timestamp_ms, column.value_type, *more).where(
        column.series_id == key, column.value_type != TEXT
    )


def _points(connection: Connection, statement: Select[Any], name: str) -> list[MetricPoint]:
    return _to_points(name, run_query(driver_connection(connection), statement).fetchall())


def _to_points(name: str, rows: Sequence[tuple[Any, ...]]) -> list[MetricPoint]:
    return [MetricPoint(name, row[0] if row[3] == NUMBER else _NAN, row[1], row[2]) for row in rows]
