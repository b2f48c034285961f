"""What a training loop writes, in one short transaction: metric points, params and tags.

These statements go to the driver (see `driver_statement`): Core's overhead would be most of the call.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select, tuple_, update
from sqlalchemy.sql.expression import ClauseElement

from mlflow_amlstore.errors import Changed, Deleted, NotFound
from mlflow_amlstore.records.database import driver_connection
from mlflow_amlstore.records.dialects import insert_new, insert_or_set, locked
from mlflow_amlstore.records.sql import logged_models
from mlflow_amlstore.records.sql.acts import keep_act
from mlflow_amlstore.records.sql.driver_statement import BulkStatement, Driver, DriverStatement, numbered
from mlflow_amlstore.records.sql.series_extremes import MOVE_EXTREMES, SET_EXTREMES, higher, lower
from mlflow_amlstore.records.sql.series_ids import series_ids
from mlflow_amlstore.records.tables import NAN, NUMBER, points, run_params, run_tags, runs, series
from mlflow_amlstore.records.types import LoggedModelPoint, PointTuple
from mlflow_amlstore.records.validation import (
    MAX_INT64,
    check_batch_size,
    check_integer,
    check_name,
    check_number,
    check_params,
    check_tags,
)

# MLflow's names for what is a column here; kept as tags too, so that its filters and its UI see them.
NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"

_SELECT_RUN = DriverStatement(
    locked(select(runs.c.run_pk, runs.c.deleted_ms).where(runs.c.run_id == bindparam("run_id"))), "run_id"
)
_SELECT_PARAM = DriverStatement(
    select(run_params.c.value).where(run_params.c.run_pk == bindparam("key"), run_params.c.name == bindparam("param")),
    "key",
    "param",
)
_INSERT_PARAM = DriverStatement(insert_new(run_params), "run_pk", "name", "value")
SET_TAG = DriverStatement(insert_or_set(run_tags, ["value"]), "run_pk", "name", "value")
_SELECT_NAME = DriverStatement(select(runs.c.name).where(runs.c.run_pk == bindparam("key")), "key")
_SET_NAME = DriverStatement(
    update(runs).where(runs.c.run_pk == bindparam("key")).values(name=bindparam("new")), "new", "key"
)
_SET_PARENT = DriverStatement(
    update(runs).where(runs.c.run_pk == bindparam("key")).values(parent_run_id=bindparam("new")), "new", "key"
)

_LAST = ("last_step", "last_timestamp_ms", "last_value")
_EXTREMES = ("min_value", "max_value", "extremes_step", "extremes_timestamp_ms")
_SERIES_COLUMNS = ("run_pk", "name", "metric", *_LAST, "last_value_type", "series_id", *_EXTREMES)
_NO_EXTREMES = (None, None)
_MIN_STEP = -MAX_INT64
_Point = tuple[str, int, int, float, int]
_POINT_COLUMNS = ("series_id", "step", "timestamp_ms", "value", "value_type")


def _upsert_series(count: int) -> tuple[ClauseElement, Sequence[str]]:
    """Make the series that are new, and move the latest point of the others on, if this one is later, with the
    extremes."""
    values, names = numbered(_SERIES_COLUMNS, count)
    plain: dict[str, Any] = {
        "column_name": literal_column("''"),
        "kind": literal_column("'scalar'"),
        "extremes_seq": literal_column("0"),
    }
    statement = insert_or_set(
        series,
        (*_LAST, "last_value_type", *_EXTREMES[2:]),
        [{**row, **plain} for row in values],
        also=lambda new: {
            "min_value": lower(new.min_value, series.c.min_value),
            "max_value": higher(new.max_value, series.c.max_value),
        },
        only_if=lambda new: tuple_(*[new[name] for name in _LAST]) > tuple_(*[series.c[name] for name in _LAST]),
    )
    return statement, names


def _insert_points(count: int) -> tuple[ClauseElement, Sequence[str]]:
    values, names = numbered(_POINT_COLUMNS, count)
    rows = [{**row, "seq": literal_column("0")} for row in values]
    return insert_new(points).values(rows), names


_UPSERT_SERIES = BulkStatement(_upsert_series)
_INSERT_POINTS = BulkStatement(_insert_points)


def active_run(driver: Driver, run_id: str) -> int:
    """Return the key of a run that takes writes, which are this transaction's alone till it ends.

    Raises NotFound, Deleted.
    """
    row = _SELECT_RUN.run(driver, run_id).fetchone()
    if row is None:
        raise NotFound("run", run_id)
    key: int
    key, deleted_ms = row
    if deleted_ms is not None:
        raise Deleted("run", run_id)
    return key


class Batch:
    """Points, params and tags of one run, checked when made and written together."""

    def __init__(
        self,
        points: Sequence[PointTuple],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
        model_points: Sequence[LoggedModelPoint],
    ) -> None:
        """Check everything. Raises InvalidValue; nothing has been written then."""
        check_batch_size(len(points), len(params), len(tags))
        check_params(params)
        check_tags(tags)
        self._points = _Points(points) if points else None
        self._params, self._tags, self._model_points = params, tags, model_points

    def write(self, connection: Connection, run_id: str, now_ms: Callable[[], int]) -> None:
        """Write it inside the caller's transaction. Raises NotFound, Deleted, Changed."""
        driver = driver_connection(connection)
        key = active_run(driver, run_id)
        if self._params:
            _write_params(driver, run_id, key, self._params)
        if self._points:
            self._points.write(driver, key)
        if self._tags:
            write_tags(connection, run_id, key, self._tags, now_ms)
        if self._model_points:
            logged_models.insert_points(connection, self._model_points)


class _Points:
    """Checked points, and the latest of each name, as (name, step, time, value, value type).

    One plain loop, because a call for each of a thousand points costs more than their checks.
    """

    def __init__(self, given: Sequence[PointTuple]) -> None:
        self.rows: list[_Point] = []
        self.latest: dict[str, _Point] = {}
        rows, latest = self.rows, self.latest
        for name, value, step, timestamp_ms in given:
            if type(name) is not str or name not in latest:
                check_name("metric", name)
            if type(value) is not float:
                value = check_number(f"metric {name!r}", value)
            if type(step) is not int or not _MIN_STEP <= step <= MAX_INT64:
                step = check_integer(f"step of metric {name!r}", step)
            if type(timestamp_ms) is not int or not 0 <= timestamp_ms <= MAX_INT64:
                timestamp_ms = check_integer(f"timestamp of metric {name!r}", timestamp_ms, minimum=0)
            point = (
                (name, step, timestamp_ms, value, NUMBER) if value == value else (name, step, timestamp_ms, 0.0, NAN)
            )
            rows.append(point)
            known = latest.get(name)
            if known is None or step > known[1] or (step == known[1] and point[2:4] > known[2:4]):
                latest[name] = point

    def write(self, driver: Driver, key: int) -> None:
        """Write them inside the caller's transaction."""
        ids, out_of_date = series_ids(driver, key, self.latest)
        extremes = self._extremes()
        moved = _UPSERT_SERIES.run(
            driver,
            [
                (key, name, *point, ids[name], *extremes.get(name, _NO_EXTREMES), *point[1:3])
                for name, point in self.latest.items()
            ],
        )
        _INSERT_POINTS.run(driver, self.rows, [ids[row[0]] for row in self.rows])
        if moved < len(self.latest):  # points that aren't the latest may yet be the lowest or the highest
            for name, (low, high) in extremes.items():
                MOVE_EXTREMES.run(driver, low, low, high, high, low, high, key, name)
        for name in out_of_date:
            SET_EXTREMES.run(driver, key, name)

    def _extremes(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest number of each name that has any."""
        if len(self.rows) == len(self.latest):
            return {name: (value, value) for name, _, _, value, value_type in self.rows if value_type == NUMBER}
        found: dict[str, tuple[float, float]] = {}
        for name, _, _, value, value_type in self.rows:
            if value_type == NUMBER:
                known = found.get(name)
                if known is None:
                    found[name] = value, value
                elif value < known[0]:
                    found[name] = value, known[1]
                elif value > known[1]:
                    found[name] = known[0], value
        return found


def _write_params(driver: Driver, run_id: str, key: int, params: Sequence[tuple[str, str]]) -> None:
    for name, value in params:
        if not _INSERT_PARAM.run(driver, key, name, value).rowcount:
            (known,) = _SELECT_PARAM.run(driver, key, name).fetchone()
            if known != value:
                raise Changed("param", run_id, name, known, value)


def write_tags(
    connection: Connection, run_id: str, key: int, tags: Sequence[tuple[str, str]], now_ms: Callable[[], int]
) -> None:
    """Set tags of the run with this key, and what is a column too. Whoever renames the run so is kept."""
    driver = driver_connection(connection)
    for name, value in tags:
        SET_TAG.run(driver, key, name, value)
        if name == NAME_TAG:
            (before,) = _SELECT_NAME.run(driver, key).fetchone()
            if value == before:
                continue
            _SET_NAME.run(driver, value, key)
            keep_act(connection, now_ms(), "run", run_id, "renamed", f"from {before}")
        elif name == PARENT_TAG:
            _SET_PARENT.run(driver, value, key)
