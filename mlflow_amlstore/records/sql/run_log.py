"""What a training loop writes, in one short transaction: metric points, params and tags.

These statements go to the driver (see `driver_statement`): at 20 µs a statement, Core's overhead would be most of the call.
"""

import sqlite3
from collections.abc import Sequence

from sqlalchemy import BigInteger, Double, SmallInteger, bindparam, insert, literal_column, select, tuple_, update
from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert as upsert

from mlflow_amlstore.errors import Changed, Deleted, NotFound
from mlflow_amlstore.records.database import driver_connection
from mlflow_amlstore.records.sql import logged_models
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.tables import NAN, NUMBER, points, run_params, run_tags, runs, series
from mlflow_amlstore.records.types import LoggedModelPoint, MetricPoint
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
    select(runs.c.run_pk, runs.c.deleted_ms).where(runs.c.run_id == bindparam("run_id")), "run_id"
)
_SELECT_PARAM = DriverStatement(
    select(run_params.c.value).where(run_params.c.run_pk == bindparam("key"), run_params.c.name == bindparam("param")),
    "key",
    "param",
)
_INSERT_PARAM = DriverStatement(insert(run_params), "run_pk", "name", "value")
SET_TAG = DriverStatement(
    (_set_tag := upsert(run_tags)).on_conflict_do_update(
        index_elements=["run_pk", "name"], set_={"value": _set_tag.excluded.value}
    ),
    "run_pk",
    "name",
    "value",
)
_SET_NAME = DriverStatement(
    update(runs).where(runs.c.run_pk == bindparam("key")).values(name=bindparam("new")), "new", "key"
)
_SET_PARENT = DriverStatement(
    update(runs).where(runs.c.run_pk == bindparam("key")).values(parent_run_id=bindparam("new")), "new", "key"
)

_LAST = ("last_step", "last_timestamp_ms", "last_value")
_new_series = upsert(series).values(
    run_pk=bindparam("run_pk"),
    name=bindparam("name"),
    metric=bindparam("metric"),
    column_name=literal_column("''"),
    kind=literal_column("'scalar'"),
    last_step=bindparam("last_step"),
    last_timestamp_ms=bindparam("last_timestamp_ms"),
    last_value=bindparam("last_value"),
    last_value_type=bindparam("last_value_type"),
)
_SET_LATEST = DriverStatement(
    _new_series.on_conflict_do_update(
        index_elements=["run_pk", "name"],
        set_={name: _new_series.excluded[name] for name in (*_LAST, "last_value_type")},
        where=tuple_(*[_new_series.excluded[name] for name in _LAST]) > tuple_(*[series.c[name] for name in _LAST]),
    ),
    "run_pk", "name", "metric", *_LAST, "last_value_type",
)  # fmt: skip
_INSERT_POINT = DriverStatement(
    upsert(points)
    .from_select(
        ["series_id", "step", "timestamp_ms", "value", "value_type", "seq"],
        select(
            series.c.series_id,
            bindparam("step", type_=BigInteger),
            bindparam("timestamp_ms", type_=BigInteger),
            bindparam("value", type_=Double),
            bindparam("value_type", type_=SmallInteger),
            literal_column("0"),
        ).where(series.c.run_pk == bindparam("run_pk"), series.c.name == bindparam("name")),
    )
    .on_conflict_do_nothing(),
    "step", "timestamp_ms", "value", "value_type", "run_pk", "name",
)  # fmt: skip


def active_run(driver: sqlite3.Connection, run_id: str) -> int:
    """Return the key of a run that takes writes. Raises NotFound, Deleted."""
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
        points: Sequence[MetricPoint],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
        model_points: Sequence[LoggedModelPoint],
    ) -> None:
        """Check everything. Raises InvalidValue; nothing has been written then."""
        check_batch_size(len(points), len(params), len(tags))
        check_params(params)
        check_tags(tags)
        self._points = [_stored(point) for point in points]
        self._params, self._tags, self._model_points = params, tags, model_points

    def write(self, connection: Connection, run_id: str) -> None:
        """Write it inside the caller's transaction. Raises NotFound, Deleted, Changed."""
        driver = driver_connection(connection)
        key = active_run(driver, run_id)
        if self._params:
            _write_params(driver, run_id, key, self._params)
        if self._points:
            _write_points(driver, key, self._points)
        if self._tags:
            _write_tags(driver, key, self._tags)
        if self._model_points:
            logged_models.insert_points(connection, self._model_points)


# (name, step, timestamp_ms, value, value_type)
_StoredPoint = tuple[str, int, int, float, int]


def _stored(point: MetricPoint) -> _StoredPoint:
    name, value, step, timestamp_ms = point
    check_name("metric", name)
    if type(value) is not float:
        value = check_number(f"metric {name!r}", value)
    if type(step) is not int or not -MAX_INT64 <= step <= MAX_INT64:
        step = check_integer(f"step of metric {name!r}", step)
    if type(timestamp_ms) is not int or not 0 <= timestamp_ms <= MAX_INT64:
        timestamp_ms = check_integer(f"timestamp of metric {name!r}", timestamp_ms, minimum=0)
    if value != value:  # NaN
        return name, step, timestamp_ms, 0.0, NAN
    return name, step, timestamp_ms, value, NUMBER


def _write_points(driver: sqlite3.Connection, key: int, stored: Sequence[_StoredPoint]) -> None:
    latest: dict[str, _StoredPoint] = {}
    for point in stored:
        known = latest.get(point[0])
        if known is None or point[1:4] > known[1:4]:
            latest[point[0]] = point
    _SET_LATEST.run_many(driver, [(key, name, name, *point[1:]) for name, point in latest.items()])
    _INSERT_POINT.run_many(driver, [(*point[1:], key, point[0]) for point in stored])


def _write_params(driver: sqlite3.Connection, run_id: str, key: int, params: Sequence[tuple[str, str]]) -> None:
    for name, value in params:
        known = _SELECT_PARAM.run(driver, key, name).fetchone()
        if known is None:
            _INSERT_PARAM.run(driver, key, name, value)
        elif known[0] != value:
            raise Changed("param", run_id, name, known[0], value)


def _write_tags(driver: sqlite3.Connection, key: int, tags: Sequence[tuple[str, str]]) -> None:
    for name, value in tags:
        SET_TAG.run(driver, key, name, value)
        if name == NAME_TAG:
            _SET_NAME.run(driver, value, key)
        elif name == PARENT_TAG:
            _SET_PARENT.run(driver, value, key)
