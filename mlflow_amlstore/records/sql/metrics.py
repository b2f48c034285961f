"""Metric histories in SQL: implements `records.store.Metrics`."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, insert, select, tuple_
from sqlalchemy.dialects.sqlite import insert as upsert

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.search.paging import (
    SortTerm,
    after_key,
    check_max_results,
    decode_token,
    encode_token,
    query_fingerprint,
)
from mlflow_amlstore.records.sql.driver_statement import key_list, keys_in, run_query
from mlflow_amlstore.records.sql.run_log import active_run
from mlflow_amlstore.records.sql.series_ids import series_ids
from mlflow_amlstore.records.tables import NAN, NUMBER, TEXT, points, runs, series
from mlflow_amlstore.records.types import MetricKind, MetricPoint, MetricRecord, Page, PointColumns
from mlflow_amlstore.records.validation import MAX_INT64, check_integer, check_name, check_number

_NAN = float("nan")
_BY_TIME = (points.c.timestamp_ms, points.c.step, points.c.value, points.c.value_type, points.c.seq)
_BY_STEP = (points.c.step, points.c.timestamp_ms, points.c.value, points.c.value_type, points.c.seq)


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

    def log_columns(
        self,
        run_id: str,
        name: str,
        kind: MetricKind,
        columns: Mapping[str, Iterable[float | str]],
        *,
        timestamp_ms: int | None = None,
    ) -> None:
        check_name("metric", name)
        values = {column: list(cells) for column, cells in columns.items()}
        _check_columns(name, kind, values)
        now = self._database.now_ms() if timestamp_ms is None else check_integer("timestamp", timestamp_ms, minimum=0)
        with self._database.write() as connection:
            run_key = active_run(driver_connection(connection), run_id)
            _check_kind(connection, run_key, name, kind)
            first = _next_position(connection, run_key, name)
            for column, cells in values.items():
                key = _series_key(connection, run_key, name, column, kind)
                rows = [_cell_row(key, first + index, now, cell) for index, cell in enumerate(cells)]
                if rows:
                    connection.execute(insert(points), rows)
                _set_latest(connection, key, rows)

    def list_metrics(self, run_id: str) -> list[MetricRecord]:
        column = series.c
        by_time = case((column.kind == MetricKind.SCALAR.value, points.c.timestamp_ms), else_=0)
        statement = (
            select(
                column.metric,
                column.column_name,
                column.kind,
                points.c.seq,
                points.c.value,
                points.c.value_type,
                points.c.text,
            )
            .select_from(runs.join(series, column.run_pk == runs.c.run_pk).outerjoin(points))
            .where(runs.c.run_id == run_id)
            .order_by(column.series_id, by_time, points.c.seq, points.c.timestamp_ms, points.c.step, points.c.value)
        )
        # MLflow may have logged a scalar under a table's name: those are two metrics.
        kinds: dict[tuple[str, bool], MetricKind] = {}
        found: dict[tuple[str, bool], dict[str, list[_Cell]]] = defaultdict(lambda: defaultdict(list))
        with self._database.read() as connection:
            for metric, column_name, kind, seq, value, value_type, text in connection.execute(statement):
                metric_key = (metric, column_name == "")
                kinds.setdefault(metric_key, MetricKind(kind))
                cells = found[metric_key][column_name]
                if seq is not None:  # None: a column without cells
                    cells.append((seq, text if value_type == TEXT else _NAN if value_type == NAN else value))
        return [
            MetricRecord(key[0], kind, _plain(found[key]) if key[1] else _aligned(found[key]))
            for key, kind in kinds.items()
        ]


_Cell = tuple[int, float | str]  # its `seq`, and what is in it


def _plain(columns: Mapping[str, Sequence[_Cell]]) -> dict[str, list[float | str]]:
    return {name: [value for _, value in cells] for name, cells in columns.items()}


def _aligned(columns: Mapping[str, Sequence[_Cell]]) -> dict[str, list[float | str]]:
    """The columns of rows or a table, with NaN for a cell that a row lacks."""
    by_row: dict[str, dict[tuple[int, int], float | str]] = {}
    for name, cells in columns.items():
        seen: Counter[int] = Counter()
        placed = by_row[name] = {}
        for seq, value in cells:
            placed[seq, seen[seq]] = value  # points that MLflow logged into a column all have seq 0
            seen[seq] += 1
    rows = sorted({row for placed in by_row.values() for row in placed})
    return {name: [placed.get(row, _NAN) for row in rows] for name, placed in by_row.items()}


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


def _check_columns(name: str, kind: MetricKind, values: Mapping[str, Sequence[float | str]]) -> None:
    if not values:
        raise InvalidValue(f"metric {name!r}", values, "must have at least one column")
    is_plain = kind in (MetricKind.SCALAR, MetricKind.LIST)
    if is_plain != (list(values) == [""]):
        raise InvalidValue(
            f"metric {name!r}", list(values), 'a list has one column, ""; rows and tables have named ones'
        )
    lengths = {column: len(cells) for column, cells in values.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidValue(f"metric {name!r}", lengths, "columns must be of equal length")
    for column in values:
        if column:
            check_name(f"column of metric {name!r}", column)


def _check_kind(connection: Connection, run_key: int, name: str, kind: MetricKind) -> None:
    """A name stays what it was first logged as; only rows and tables are one."""
    column = series.c
    known = connection.execute(
        select(column.kind).where(column.run_pk == run_key, column.metric == name).order_by(column.series_id).limit(1)
    ).scalar()
    grids = {MetricKind.ROW.value, MetricKind.TABLE.value}
    if known is not None and known != kind.value and {known, kind.value} != grids:
        raise InvalidValue("metric", name, f"is already logged as a {known}; choose another name for the {kind.value}")


def _next_position(connection: Connection, run_key: int, name: str) -> int:
    # The step of a cell is its position from 0. Only the last is looked at, because rows come one by one in a loop.
    last_of_column = (
        select(points.c.step)
        .where(points.c.series_id == series.c.series_id, points.c.seq > 0)
        .order_by(points.c.step.desc())
        .limit(1)
        .correlate(series)
        .scalar_subquery()
    )
    last = select(func.max(last_of_column)).where(series.c.run_pk == run_key, series.c.metric == name)
    step = connection.execute(last).scalar()
    return 1 if step is None else step + 2


def _series_key(connection: Connection, run_key: int, metric: str, column: str, kind: MetricKind) -> int:
    name = f"{metric}.{column}" if column else metric
    series_id = series_ids(driver_connection(connection), run_key, [name])[name]
    connection.execute(
        upsert(series)
        .values(
            run_pk=run_key, series_id=series_id, name=name, metric=metric, column_name=column, kind=kind.value,
            last_step=-MAX_INT64 - 1, last_timestamp_ms=0, last_value=0.0, last_value_type=TEXT,
        )
        .on_conflict_do_nothing()
    )  # fmt: skip
    row = connection.execute(select(series).where(series.c.run_pk == run_key, series.c.name == name)).one()
    if (row.metric, row.column_name) != (metric, column):
        raise InvalidValue(
            "metric",
            metric,
            f"MLflow would see it as {name!r}, which the {row.kind} {row.metric!r} is; choose another name",
        )
    return series_id


def _cell_row(series_id: int, position: int, timestamp_ms: int, cell: float | str) -> dict[str, Any]:
    row = {"series_id": series_id, "step": position - 1, "timestamp_ms": timestamp_ms, "seq": position, "text": None}
    if isinstance(cell, str):
        return {**row, "value": 0.0, "value_type": TEXT, "text": cell}
    number = check_number("metric cell", cell)
    if math.isnan(number):
        return {**row, "value": 0.0, "value_type": NAN}
    return {**row, "value": number, "value_type": NUMBER}


def _set_latest(connection: Connection, key: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Move the series' latest point on to the last number of these rows, if it is later."""
    numbers = [row for row in rows if row["value_type"] != TEXT]
    if not numbers:
        return
    row, column = numbers[-1], series.c
    known = tuple_(column.last_step, column.last_timestamp_ms, column.last_value)
    connection.execute(
        series.update()
        .where(column.series_id == key, tuple_(row["step"], row["timestamp_ms"], row["value"]) > known)
        .values(
            last_step=row["step"],
            last_timestamp_ms=row["timestamp_ms"],
            last_value=row["value"],
            last_value_type=row["value_type"],
        )
    )
