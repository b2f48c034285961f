"""Runs in SQL: implements `records.store.Runs`; writing points, params and tags is in `run_log`."""

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from mlflow_amlstore.errors import AlreadyExists, Changed, Deleted, InvalidValue, NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.random_name import random_name
from mlflow_amlstore.records.search import page_of_runs
from mlflow_amlstore.records.sql import run_inputs, run_log
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.sql.run_records import find_info, run_location, run_record, run_records
from mlflow_amlstore.records.tables import experiments, run_properties, run_tags, runs
from mlflow_amlstore.records.types import (
    DatasetInput,
    DatasetSummary,
    LoggedModelPoint,
    Page,
    PointTuple,
    RunInfo,
    RunModel,
    RunRecord,
    RunStatus,
    View,
)
from mlflow_amlstore.records.validation import (
    MAX_NAME_LENGTH,
    MAX_TAG_VALUE_LENGTH,
    check_integer,
    check_length,
    check_name,
    check_run_id,
    experiment_key,
)

_INSERT_RUN = DriverStatement(
    insert(runs).values(
        {
            name: bindparam(name)
            for name in (
                "run_id", "experiment_id", "name", "status", "user_id", "created_ms", "start_ms", "parent_run_id",
            )
        }
    ),
    "run_id", "experiment_id", "name", "status", "user_id", "created_ms", "start_ms", "parent_run_id",
)  # fmt: skip
_SELECT_EXPERIMENT = DriverStatement(
    select(experiments.c.deleted_ms, experiments.c.artifact_location).where(
        experiments.c.experiment_id == bindparam("experiment")
    ),
    "experiment",
)
_UPDATE_RUN = DriverStatement(
    update(runs)
    .where(runs.c.run_pk == bindparam("key"))
    .values(status=bindparam("new_status"), end_ms=bindparam("new_end"), name=bindparam("new_name")),
    "new_name", "new_status", "new_end", "key",
)  # fmt: skip


class SqlRuns:
    """Runs of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        experiment_id: str,
        *,
        run_id: str | None = None,
        name: str | None = None,
        user_id: str = "",
        status: RunStatus = RunStatus.RUNNING,
        start_ms: int | None = None,
        parent_run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RunRecord:
        tags = dict(tags or {})
        for tag, value in tags.items():  # of any characters, as MLflow takes them here (`SqlAlchemyStore.create_run`)
            check_length("tag", tag, MAX_NAME_LENGTH)
            check_length(f"tag {tag!r}", value, MAX_TAG_VALUE_LENGTH)
        run_id = uuid.uuid4().hex if run_id is None else check_run_id(run_id)
        if start_ms is not None:
            start_ms = check_integer("start time", start_ms)
        name = _name_and_tag(name, tags)
        if parent_run_id:
            tags[run_log.PARENT_TAG] = parent_run_id
        parent_run_id = tags.get(run_log.PARENT_TAG)
        experiment = experiment_key(experiment_id)
        now = self._database.now_ms()
        with self._database.write() as connection:
            driver = driver_connection(connection)
            experiment_location = _active_experiment_location(driver, experiment_id, experiment)
            try:
                key = _INSERT_RUN.run(
                    driver, run_id, experiment, name, status.value, user_id, now, start_ms, parent_run_id
                ).lastrowid
            except sqlite3.IntegrityError as error:
                raise AlreadyExists("run", run_id) from error
            run_log.SET_TAG.run_many(driver, [(key, tag, value) for tag, value in tags.items()])
        info = RunInfo(
            run_id=run_id,
            experiment_id=str(experiment),
            name=name,
            status=status,
            user_id=user_id,
            created_ms=now,
            start_ms=start_ms,
            end_ms=None,
            deleted_ms=None,
            parent_run_id=parent_run_id,
            artifact_location=run_location(experiment_location, run_id),
        )
        return RunRecord(info, metrics=[], params={}, tags=tags, properties={}, datasets=[], models=[])

    def get(self, run_id: str) -> RunRecord:
        with self._database.read() as connection:
            return run_record(connection, run_id)

    def search(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: str | None = None,
        view: View = View.ACTIVE,
        order_by: Sequence[str] = (),
        max_results: int | None = 1000,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        keys = [experiment_key(experiment_id) for experiment_id in experiment_ids]
        with self._database.read() as connection:
            rows, token = page_of_runs(
                connection,
                keys,
                view=view,
                filter=filter,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            return Page(run_records(connection, rows), token)

    def update(
        self, run_id: str, *, status: RunStatus | None = None, end_ms: int | None = None, name: str | None = None
    ) -> RunInfo:
        if end_ms is not None:
            end_ms = check_integer("end time", end_ms)
        if name:
            check_length("run name", name, MAX_TAG_VALUE_LENGTH)
        with self._database.write() as connection:
            driver = driver_connection(connection)
            found = find_info(driver, run_id)
            if found is None:
                raise NotFound("run", run_id)
            key, info = found
            if info.deleted_ms is not None:
                raise Deleted("run", run_id)
            info = replace(
                info,
                name=name or info.name,
                status=status or info.status,
                end_ms=info.end_ms if end_ms is None else end_ms,
            )
            _UPDATE_RUN.run(driver, info.name, info.status.value, info.end_ms, key)
            if name:
                run_log.SET_TAG.run(driver, key, run_log.NAME_TAG, name)
        return info

    def delete(self, run_id: str) -> None:
        self._set_deleted(run_id, self._database.now_ms())

    def restore(self, run_id: str) -> None:
        self._set_deleted(run_id, None)

    def _set_deleted(self, run_id: str, deleted_ms: int | None) -> None:
        with self._database.write() as connection:
            changed = connection.execute(update(runs).where(runs.c.run_id == run_id).values(deleted_ms=deleted_ms))
            if not changed.rowcount:
                raise NotFound("run", run_id)

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[PointTuple] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
        model_points: Sequence[LoggedModelPoint] = (),
    ) -> None:
        batch = run_log.Batch(points, params, tags, model_points)
        with self._database.write() as connection:
            batch.write(connection, run_id)

    def delete_tag(self, run_id: str, name: str) -> None:
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            tag = run_tags.c
            if not connection.execute(delete(run_tags).where(tag.run_pk == key, tag.name == name)).rowcount:
                raise NotFound("tag", name, f"Run {run_id} has no such tag")
            if name == run_log.PARENT_TAG:
                connection.execute(update(runs).where(runs.c.run_pk == key).values(parent_run_id=None))

    def add_properties(self, run_id: str, properties: Mapping[str, str]) -> None:
        for name, value in properties.items():
            check_name("property", name)
            check_length(f"property {name!r}", value, MAX_TAG_VALUE_LENGTH)
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            known = _properties(connection, key)
            for name, value in properties.items():
                if known.get(name, value) != value:
                    raise Changed("property", run_id, name, known[name], value)
            rows = [{"run_pk": key, "name": name, "value": value} for name, value in properties.items()]
            if rows:
                connection.execute(upsert(run_properties).on_conflict_do_nothing(), rows)

    def log_inputs(
        self, run_id: str, *, datasets: Sequence[DatasetInput] = (), models: Sequence[RunModel] = ()
    ) -> None:
        run_inputs.check_datasets(datasets)
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            run_inputs.insert_datasets(connection, key, datasets)
            run_inputs.insert_models(connection, key, models)

    def list_datasets(self, experiment_ids: Sequence[str]) -> list[DatasetSummary]:
        keys = [experiment_key(experiment_id) for experiment_id in experiment_ids]
        with self._database.read() as connection:
            return run_inputs.dataset_summaries(connection, keys)

    def list_children(self, run_id: str) -> list[str]:
        with self._database.read() as connection:
            children = select(runs.c.run_id).where(runs.c.parent_run_id == run_id, runs.c.deleted_ms.is_(None))
            return list(connection.execute(children.order_by(runs.c.start_ms, runs.c.run_pk)).scalars())


def _active_experiment_location(driver: sqlite3.Connection, experiment_id: str, key: int) -> str | None:
    row = _SELECT_EXPERIMENT.run(driver, key).fetchone()
    if row is None:
        raise NotFound("experiment", experiment_id)
    deleted_ms, location = row
    if deleted_ms is not None:
        raise Deleted("experiment", experiment_id)
    return str(location) if location is not None else None


def _name_and_tag(name: str | None, tags: dict[str, str]) -> str:
    """Return the run's name, given by argument or tag or made up, and see that the tag says it too (as MLflow does)."""
    tagged = tags.get(run_log.NAME_TAG)
    if name and tagged and name != tagged:
        raise InvalidValue(
            "run name", name, f"the tag {run_log.NAME_TAG} gives another one, {tagged!r}; give one of them"
        )
    name = name or tagged or random_name()
    check_length("run name", name, MAX_TAG_VALUE_LENGTH)
    tags[run_log.NAME_TAG] = name
    return name


def _properties(connection: Connection, key: int) -> dict[str, str]:
    columns = run_properties.c
    rows = connection.execute(select(columns.name, columns.value).where(columns.run_pk == key))
    return {row.name: row.value for row in rows}
