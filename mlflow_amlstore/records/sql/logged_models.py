"""Logged models in SQL: implements `common_store.CommonLoggedModels`, and inserts points that runs log."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import insert_new, insert_or_set, key_list, keys_in, locked
from mlflow_amlstore.records.locations import below
from mlflow_amlstore.records.random_name import random_name
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.search.logged_models import page_of_logged_models
from mlflow_amlstore.records.sql.experiments import active_experiment
from mlflow_amlstore.records.sql.named_values import NamedValues
from mlflow_amlstore.records.tables import (
    NAN,
    NUMBER,
    experiments,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord, OrderTerm, Page
from mlflow_amlstore.records.validation import (
    check_integer,
    check_length,
    check_logged_model_name,
    check_name,
    check_number,
    experiment_key,
)

PENDING = "PENDING"
FINAL_STATUSES = ("READY", "FAILED")

_MAX_NAME_LENGTH = 255  # MLflow's, of a logged model's params and tags (`dbmodels.models.SqlLoggedModelParam`)

_PARAMS, _TAGS = NamedValues(logged_model_params), NamedValues(logged_model_tags)


class SqlLoggedModels:
    """Logged models of one workspace. A deleted one can still be written to, as in MLflow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        source_run_id: str | None = None,
        model_type: str | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> LoggedModelRecord:
        check_logged_model_name(name)
        params, tags = dict(params or {}), dict(tags or {})
        _check_values("param", params)
        _check_values("tag", tags)
        now = self._database.now_ms()
        with self._database.write() as connection:
            experiment = active_experiment(connection, experiment_id)
            model_id = f"m-{uuid.uuid4().hex}"
            key: int = connection.execute(
                insert(logged_models).values(
                    model_id=model_id,
                    experiment_id=experiment.experiment_id,
                    name=name or random_name(),
                    model_type=model_type,
                    status=PENDING,
                    source_run_id=source_run_id,
                    created_ms=now,
                    updated_ms=now,
                )
            ).inserted_primary_key[0]  # type: ignore[index]  # an insert of one row has one
            if params:
                connection.execute(insert(logged_model_params), _value_rows(key, params))
            if tags:
                connection.execute(insert(logged_model_tags), _value_rows(key, tags))
            return _record(connection, model_id)

    def get(self, model_id: str, *, allow_deleted: bool = False) -> LoggedModelRecord:
        with self._database.read() as connection:
            row = _row(connection, model_id)
            if row.deleted_ms is not None and not allow_deleted:
                raise NotFound("logged model", model_id, "It is deleted")
            return _records(connection, [row])[0]

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: Filter = NO_FILTER,
        datasets: Sequence[tuple[str, str | None]] = (),
        order_by: Sequence[OrderTerm] = (),
        max_results: int = 100,
        page_token: str | None = None,
    ) -> Page[LoggedModelRecord]:
        """Return a page of logged models; `datasets` are (name, digest) pairs that metric filters are about."""
        keys = [experiment_key(experiment_id) for experiment_id in experiment_ids]
        with self._database.read() as connection:
            rows, token = page_of_logged_models(
                connection,
                keys,
                filter=filter,
                datasets=datasets,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            return Page(_records(connection, rows), token)

    def finalize(self, model_id: str, status: str) -> LoggedModelRecord:
        if status not in FINAL_STATUSES:
            raise InvalidValue("status", status, f"a logged model is finalized as {' or '.join(FINAL_STATUSES)}")
        with self._database.write() as connection:
            self._change(connection, _row(connection, model_id).model_pk, status=status)
            return _record(connection, model_id)

    def add_params(self, model_id: str, params: Mapping[str, str]) -> None:
        _check_values("param", params)
        with self._database.write() as connection:
            key = _row(connection, model_id, is_locked=True).model_pk
            known = _PARAMS.of_owners(driver_connection(connection), key_list([key]))[key]
            for name in params:
                if name in known:
                    raise AlreadyExists("param", name, f"Logged model {model_id} has it with value {known[name]!r}")
            if params:
                connection.execute(insert(logged_model_params), _value_rows(key, params))

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        _check_values("tag", tags)
        with self._database.write() as connection:
            key = _row(connection, model_id).model_pk
            if tags:
                connection.execute(insert_or_set(logged_model_tags, ["value"]), _value_rows(key, tags))

    def delete_tag(self, model_id: str, name: str) -> None:
        with self._database.write() as connection:
            key = _row(connection, model_id).model_pk
            column = logged_model_tags.c
            removed = connection.execute(
                delete(logged_model_tags).where(column.model_pk == key, column.name == name)
            ).rowcount
            if not removed:
                raise NotFound("tag", name, f"Logged model {model_id} has no such tag")

    def delete(self, model_id: str) -> None:
        with self._database.write() as connection:
            self._change(connection, _row(connection, model_id).model_pk, deleted_ms=self._database.now_ms())

    def _change(self, connection: Connection, key: int, **values: object) -> None:
        now = self._database.now_ms()
        connection.execute(
            update(logged_models).where(logged_models.c.model_pk == key).values(updated_ms=now, **values)
        )


def insert_points(connection: Connection, points: Sequence[LoggedModelPoint]) -> None:
    """Add metric points of logged models inside the caller's transaction; one that is there already is kept once.

    Raises NotFound for a model that doesn't exist (a deleted one takes points), and InvalidValue.
    """
    keys = {model_id: _row(connection, model_id).model_pk for model_id in {point.model_id for point in points}}
    rows = [{"model_pk": keys[point.model_id], **_stored(point)} for point in points]
    if rows:
        connection.execute(insert_new(logged_model_metrics), rows)


def _stored(point: LoggedModelPoint) -> dict[str, object]:
    check_name("metric", point.name)
    value = check_number(f"metric {point.name!r}", point.value)
    is_nan = value != value
    return {
        "name": point.name,
        "dataset_name": point.dataset_name,
        "dataset_digest": point.dataset_digest,
        "step": check_integer(f"step of metric {point.name!r}", point.step),
        "timestamp_ms": check_integer(f"timestamp of metric {point.name!r}", point.timestamp_ms, minimum=0),
        "run_id": point.run_id,
        "value": 0.0 if is_nan else value,
        "value_type": NAN if is_nan else NUMBER,
    }


def _check_values(kind: str, values: Mapping[str, str]) -> None:
    """Params and tags of logged models: any name that fits MLflow's column, and text of any length."""
    for name, value in values.items():
        check_length(f"{kind} name", name, _MAX_NAME_LENGTH)
        if not name:
            raise InvalidValue(f"{kind} name", name, "must not be empty")
        if not isinstance(value, str):
            raise InvalidValue(f"{kind} {name!r}", value, "must be a string")


def _value_rows(key: int, values: Mapping[str, str]) -> list[dict[str, object]]:
    return [{"model_pk": key, "name": name, "value": value} for name, value in values.items()]


def _row(connection: Connection, model_id: str, *, is_locked: bool = False) -> Row[Any]:
    of_model = select(logged_models).where(logged_models.c.model_id == model_id)
    row = connection.execute(locked(of_model) if is_locked else of_model).first()
    if row is None:
        raise NotFound("logged model", model_id)
    return row


def _record(connection: Connection, model_id: str) -> LoggedModelRecord:
    return _records(connection, [_row(connection, model_id)])[0]


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[LoggedModelRecord]:
    keys = key_list([row.model_pk for row in rows])
    locations = _experiment_locations(connection, {row.experiment_id for row in rows})
    params, tags = (table.of_owners(driver_connection(connection), keys) for table in (_PARAMS, _TAGS))
    metrics = _metrics(connection, rows)
    return [
        LoggedModelRecord(
            model_id=row.model_id,
            experiment_id=str(row.experiment_id),
            name=row.name,
            model_type=row.model_type,
            status=row.status,
            status_message=row.status_message,
            source_run_id=row.source_run_id,
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
            deleted_ms=row.deleted_ms,
            artifact_location=_location(locations[row.experiment_id], row.model_id),
            params=params[row.model_pk],
            tags=tags[row.model_pk],
            metrics=metrics[row.model_pk],
        )
        for row in rows
    ]


def _location(experiment_location: str | None, model_id: str) -> str | None:
    """Where a model's files are, when its experiment keeps them in a remote place (MLflow's layout)."""
    return None if experiment_location is None else below(experiment_location, f"models/{model_id}/artifacts")


def _experiment_locations(connection: Connection, keys: set[int]) -> dict[int, str | None]:
    experiment = experiments.c
    locations = select(experiment.experiment_id, experiment.artifact_location)
    found = connection.execute(
        locations.where(experiment.experiment_id.in_(keys_in())), {"keys": key_list(sorted(keys))}
    )
    return {row.experiment_id: row.artifact_location for row in found}


def _metrics(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, list[LoggedModelPoint]]:
    """The points of each model by name, then time, then step."""
    model_ids = {row.model_pk: row.model_id for row in rows}
    column = logged_model_metrics.c
    points = select(logged_model_metrics).where(column.model_pk.in_(keys_in()))
    points = points.order_by(column.model_pk, column.name, column.timestamp_ms, column.step)
    found: dict[int, list[LoggedModelPoint]] = defaultdict(list)
    for point in connection.execute(points, {"keys": key_list(list(model_ids))}):
        found[point.model_pk].append(
            LoggedModelPoint(
                model_id=model_ids[point.model_pk],
                name=point.name,
                value=float("nan") if point.value_type == NAN else point.value,
                step=point.step,
                timestamp_ms=point.timestamp_ms,
                run_id=point.run_id,
                dataset_name=point.dataset_name,
                dataset_digest=point.dataset_digest,
            )
        )
    return found
