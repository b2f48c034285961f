"""Metric histories in SQL: implements `common_store.CommonMetrics`, and what MLflow asks for."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.curves import is_at_one_x
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import insert_or_set, key_list, keys_in
from mlflow_amlstore.records.logged_values import check_description
from mlflow_amlstore.records.search.paging import query_fingerprint
from mlflow_amlstore.records.sql.driver_statement import run_query
from mlflow_amlstore.records.sql.logged_values import LoggedGroup
from mlflow_amlstore.records.sql.metric_curves import Axis, curves
from mlflow_amlstore.records.sql.metric_history import BY_TIME, history_page
from mlflow_amlstore.records.sql.metric_means import means
from mlflow_amlstore.records.sql.metric_pages import page_of_grid, page_of_vector, whole_page
from mlflow_amlstore.records.sql.metric_rows import (
    MetricColumn,
    all_cells,
    grid,
    kind_of,
    series_of_metrics,
    values_of,
    vector,
)
from mlflow_amlstore.records.sql.metric_summaries import summaries_of_runs
from mlflow_amlstore.records.sql.run_log import active_run
from mlflow_amlstore.records.tables import NUMBER, TEXT, metric_descriptions, points, runs, series
from mlflow_amlstore.records.types import (
    GRID_KINDS,
    Curve,
    LoggedTuple,
    LoggedValues,
    MeanCurve,
    MetricKind,
    MetricPage,
    MetricPoint,
    MetricRecord,
    MetricSummary,
    Page,
    SeriesCurve,
)
from mlflow_amlstore.records.validation import check_integer, check_max_results

_NAN = float("nan")
MAX_CURVE_COLUMNS = 10_000
_BY_STEP = (points.c.step, points.c.timestamp_ms, points.c.value, points.c.value_type, points.c.seq)


class SqlMetrics:
    """Histories of the metrics of one workspace's runs. A run without the metric has an empty history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(
        self, run_id: str, name: str, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[MetricPoint]:
        """Return points by time, then step, then value; all of them when `max_results` is None."""
        with self._database.read() as connection:
            return history_page(
                driver_connection(connection),
                _of_series(run_id, name, *BY_TIME),
                name,
                max_results=None if max_results is None else check_max_results(max_results),
                page_token=page_token,
                query=query_fingerprint(("history", run_id, name)),
            )

    def history_of_runs(self, run_ids: Sequence[str], name: str, *, max_results: int) -> list[tuple[str, MetricPoint]]:
        """Return `(run_id, point)` by run id, then as `history`; at most `max_results` in all."""
        found: list[tuple[str, MetricPoint]] = []
        with self._database.read() as connection:
            for run_id in sorted(set(run_ids)):
                statement = _of_series(run_id, name, *_POINT).order_by(*BY_TIME).limit(max_results - len(found))
                found += [(run_id, point) for point in _points(connection, statement, name)]
                if len(found) >= max_results:
                    break
        return found

    def at_steps(self, run_id: str, name: str, steps: Sequence[int], *, max_results: int) -> list[MetricPoint]:
        """Return the points at these steps by step, then time, then value."""
        wanted = {check_integer("step", step) for step in steps}
        statement = (
            _of_series(run_id, name, *_POINT)
            .where(points.c.step.in_(keys_in().params(keys=key_list(sorted(wanted)))))
            .order_by(*_BY_STEP)
            .limit(max_results)
        )
        with self._database.read() as connection:
            return _points(connection, statement, name)

    def summaries(self, run_ids: Sequence[str]) -> dict[str, list[MetricSummary]]:
        """Return the series of these runs by run id, each run's in the order that they came."""
        with self._database.read() as connection:
            return summaries_of_runs(driver_connection(connection), run_ids)

    def curves(
        self,
        run_ids: Sequence[str],
        name: str,
        *,
        columns: int,
        x: Axis = "step",
        window: tuple[int, int] | None = None,
    ) -> list[Curve]:
        """Return a metric of these runs as it is drawn in so many columns, which the window, or without one the range
        of all its points, is divided into: of each column the first, lowest, highest and last point.

        The window is of steps, or of times in ms, with both ends in it. A run without the metric has no curve.
        """
        check_max_results(columns, MAX_CURVE_COLUMNS, "columns")
        if x not in ("step", "time"):
            raise InvalidValue("x", x, "must be 'step' or 'time'")
        if window is not None:
            window = check_integer("beginning of the window", window[0]), check_integer("end of the window", window[1])
            if window[0] > window[1]:
                raise InvalidValue("window", list(window), "must end where it begins, or after")
        with self._database.read() as connection:
            return curves(driver_connection(connection), run_ids, name, columns=columns, x=x, window=window)

    def curves_of_run(self, run_id: str, names: Sequence[str], *, columns: int) -> list[SeriesCurve]:
        check_max_results(columns, MAX_CURVE_COLUMNS, "columns")
        found: list[SeriesCurve] = []
        with self._database.read() as connection:
            driver = driver_connection(connection)
            known = {each.name: each for each in summaries_of_runs(driver, [run_id])[run_id]}
            for each in (known[name] for name in dict.fromkeys(names) if name in known):
                for drawn in curves(driver, [run_id], each.name, columns=columns, x="step", window=None):
                    if drawn.points_in_all > 1 and is_at_one_x(drawn):
                        [drawn] = curves(driver, [run_id], each.name, columns=columns, x="time", window=None)
                    if drawn.points_in_all:
                        found.append(SeriesCurve(each.name, each.metric, each.column, each.kind, drawn))
        return found

    def means(
        self, groups: Sequence[Sequence[str]], name: str, *, columns: int, window: tuple[int, int] | None = None
    ) -> list[MeanCurve]:
        """Return the mean of a metric over each of these groups of runs, by steps, in so many columns.

        In a column each run counts once, by the mean of its finite numbers there.
        """
        check_max_results(columns, MAX_CURVE_COLUMNS, "columns")
        with self._database.read() as connection:
            return means(driver_connection(connection), groups, name, columns=columns, window=window)

    def sample(
        self, run_id: str, name: str, *, max_results: int, steps: tuple[int, int] | None = None
    ) -> list[MetricPoint]:
        """Return about evenly spaced points, first and last among them, within `steps` (inclusive) if given.

        As in MLflow's SQL store they are the first of each of `max_results` equal buckets, and the very last.
        """
        max_results = max(1, max_results)
        bucket = func.ntile(max_results).over(order_by=_BY_STEP).label("bucket")
        inner = _of_series(run_id, name, *_POINT, points.c.seq, bucket)
        if steps is not None:
            inner = inner.where(points.c.step.between(*steps))
        bucketed = inner.subquery().c
        by_step = [bucketed[column.name] for column in _BY_STEP]
        rank = func.row_number().over(partition_by=bucketed.bucket, order_by=by_step).label("rank")
        ranked = select(*bucketed, rank).subquery().c
        firsts = select(ranked.value, ranked.step, ranked.timestamp_ms, ranked.value_type).where(ranked.rank == 1)
        last = _of_series(run_id, name, *_POINT).order_by(*[column.desc() for column in _BY_STEP]).limit(1)
        if steps is not None:
            last = last.where(points.c.step.between(*steps))
        with self._database.read() as connection:
            sampled = _points(connection, firsts.order_by(ranked.bucket), name)
            ends = _points(connection, last, name)
        if ends and repr(sampled[-1]) != repr(ends[0]):  # repr, because NaN differs from itself
            sampled[max_results - 1 :] = ends
        return sampled

    def log_values(
        self,
        run_id: str,
        logged: Sequence[LoggedValues | LoggedTuple],
        *,
        write_id: str | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> int:
        group = LoggedGroup(logged)
        for name, description in (descriptions or {}).items():
            check_description(name, description)
        with self._database.write() as connection:  # which says for certain whether it was committed: no id is needed
            group.write(connection, run_id)
            if descriptions:
                _describe(connection, run_id, descriptions)
        return len(logged)

    def descriptions(self, run_id: str) -> dict[str, str]:
        told = metric_descriptions.c
        of_run = select(runs.c.run_pk).where(runs.c.run_id == run_id).scalar_subquery()
        with self._database.read() as connection:
            rows = connection.execute(select(told.name, told.value).where(told.run_pk == of_run).order_by(told.name))
            return {row.name: row.value for row in rows}

    @property
    def is_busy_here(self) -> bool:
        return self._database.is_busy_here

    def list_names(self, run_id: str) -> list[tuple[str, MetricKind]]:
        with self._database.read() as connection:
            found = series_of_metrics(driver_connection(connection), run_id, None)
        return [(name, kind_of(columns)) for name, columns in found.items()]

    def count(self, run_id: str, kind: MetricKind) -> int:
        """How many metrics of a kind a run has."""
        column = series.c
        counted = (
            select(func.count(column.metric.distinct()))
            .join(runs, column.run_pk == runs.c.run_pk)
            .where(runs.c.run_id == run_id, column.kind == kind.value)
        )
        with self._database.read() as connection:
            return int(connection.execute(counted).scalar_one())

    def list_metrics(self, run_id: str, name: str | None = None, *, with_times: bool = False) -> list[MetricRecord]:
        with self._database.read() as connection:
            driver = driver_connection(connection)

            def read(metric: str, columns: Sequence[MetricColumn]) -> MetricRecord:
                if kind_of(columns) in GRID_KINDS:
                    return grid(metric, columns, partial(all_cells, driver))
                if with_times:
                    return vector(metric, columns[0], all_cells(driver, columns[0]))
                return values_of(driver, metric, columns[0])

            found = series_of_metrics(driver, run_id, name)
            return [read(metric, columns) for metric, columns in found.items()]

    def page(
        self,
        run_id: str,
        name: str,
        *,
        max_rows: int,
        page_token: str | None = None,
        first_ms: int | None = None,
        last_ms: int | None = None,
        with_times: bool = True,
    ) -> MetricPage | None:
        """Return the rows of a metric as `list_metrics` has them, those logged from `first_ms` to `last_ms` where these
        are given; None where the run has no metric of the name. A page may have fewer rows, even none, before the last;
        without `with_times` it may lack steps and times.
        """
        max_rows = check_max_results(max_rows)
        within = []
        if first_ms is not None:
            within.append(points.c.timestamp_ms >= check_integer("first time", first_ms))
        if last_ms is not None:
            within.append(points.c.timestamp_ms <= check_integer("last time", last_ms))
        query = query_fingerprint(("metric", run_id, name, first_ms, last_ms))
        with self._database.read() as connection:
            driver = driver_connection(connection)
            columns = series_of_metrics(driver, run_id, name).get(name)
            if columns is None:
                return None
            if kind_of(columns) in GRID_KINDS:
                return page_of_grid(
                    driver, name, columns, within, max_rows=max_rows, page_token=page_token, query=query
                )
            if not (with_times or within or page_token):
                whole = values_of(driver, name, columns[0], max_rows=max_rows + 1)
                if len(whole.columns[""]) <= max_rows:
                    return whole_page(whole)
            return page_of_vector(
                driver, name, columns[0], within, max_rows=max_rows, page_token=page_token, query=query
            )


def _describe(connection: Connection, run_id: str, descriptions: Mapping[str, str]) -> None:
    run_key = active_run(driver_connection(connection), run_id)
    rows = [{"run_pk": run_key, "name": name, "value": text} for name, text in descriptions.items()]
    connection.execute(insert_or_set(metric_descriptions, ["value"]), rows)


_POINT = (points.c.value, points.c.step, points.c.timestamp_ms, points.c.value_type)
"""What `_points` reads of a point."""


def _of_series(run_id: str, name: str, *columns: ColumnElement[Any]) -> Select[Any]:
    """These columns of the numeric points of one series."""
    key = (
        select(series.c.series_id)
        .join(runs, series.c.run_pk == runs.c.run_pk)
        .where(runs.c.run_id == run_id, series.c.name == name)
        .scalar_subquery()
    )
    return select(*columns).where(points.c.series_id == key, points.c.value_type != TEXT)


def _points(connection: Connection, statement: Select[Any], name: str) -> list[MetricPoint]:
    return _to_points(name, run_query(driver_connection(connection), statement).fetchall())


def _to_points(name: str, rows: Sequence[tuple[Any, ...]]) -> list[MetricPoint]:
    return [MetricPoint(name, row[0] if row[3] == NUMBER else _NAN, row[1], row[2]) for row in rows]
