"""Runs in SQL: implements `common_store.CommonRuns`; writing points, params and tags is in `run_log`."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)

from mlflow_amlstore.errors import AlreadyExists, Changed, Deleted, InvalidValue, NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import insert_new, key_list, texts_in
from mlflow_amlstore.records.process_lock import ProcessLock
from mlflow_amlstore.records.random_name import random_name
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.search.ordering import Ordering
from mlflow_amlstore.records.search.runs import (
    count_of_children,
    count_of_runs,
    groups_of_runs,
    names_of_runs,
    page_of_runs,
    values_of_runs,
)
from mlflow_amlstore.records.sql import run_inputs, run_log
from mlflow_amlstore.records.sql.acts import keep_act
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement
from mlflow_amlstore.records.sql.run_lists import page_of_list, roots
from mlflow_amlstore.records.sql.run_processes import forget_process, put_process
from mlflow_amlstore.records.sql.run_queue import queue_of
from mlflow_amlstore.records.sql.run_records import find_info, run_location, run_record, run_records
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.tables import experiments, run_definitions, run_properties, run_tags, runs
from mlflow_amlstore.records.types import (
    MACHINE_PROPERTY,
    PROCESS_ENDED,
    DatasetInput,
    DatasetSummary,
    LoggedModelPoint,
    Page,
    PointTuple,
    QueueEntry,
    RunActivity,
    RunError,
    RunFilter,
    RunGroup,
    RunInfo,
    RunModel,
    RunNames,
    RunRecord,
    RunStatus,
    RunValues,
    View,
)
from mlflow_amlstore.records.validation import (
    MAX_NAME_LENGTH,
    MAX_TAG_VALUE_LENGTH,
    check_integer,
    check_length,
    check_run_id,
    check_text_values,
    encodable,
    experiment_key,
)

_INSERT_RUN = DriverStatement(
    insert_new(runs).values(
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
_COUNT_CHILDREN = DriverStatement(
    select(runs.c.parent_run_id, func.count())
    .where(runs.c.parent_run_id.in_(texts_in()), runs.c.deleted_ms.is_(None))
    .group_by(runs.c.parent_run_id),
    "keys",
)
_COUNT_ACTIVE = DriverStatement(select(func.count()).select_from(runs).where(runs.c.deleted_ms.is_(None)))
_RUNNING_OF_EXPERIMENT = (
    select(func.count())
    .where(
        runs.c.experiment_id == experiments.c.experiment_id,
        runs.c.status == literal_column(f"'{RunStatus.RUNNING.value}'"),
        runs.c.deleted_ms.is_(None),
    )
    .correlate(experiments)
    .scalar_subquery()
)
_COUNT_RUNNING = DriverStatement(  # by experiment, each of which has an index by status
    select(func.coalesce(func.sum(_RUNNING_OF_EXPERIMENT), literal_column("0"))).select_from(experiments)
)
_UPDATE_RUN = DriverStatement(
    update(runs)
    .where(runs.c.run_id == bindparam("run"), runs.c.deleted_ms.is_(None))
    .values(
        {
            name: func.coalesce(bindparam(f"new_{name}", type_=runs.c[name].type), runs.c[name])
            for name in ("status", "start_ms", "end_ms", "name", "error")
        }
    ),
    "new_name", "new_status", "new_start_ms", "new_end_ms", "new_error", "run",
)  # fmt: skip


_ADVANCE_RUN = DriverStatement(
    update(runs)
    .where(
        runs.c.run_id == bindparam("run"),
        runs.c.deleted_ms.is_(None),
        runs.c.status.not_in(
            [literal_column(f"'{status.value}'") for status in (RunStatus.CANCEL_REQUESTED, *sorted(ENDED))]
        ),
    )
    .values(
        status=bindparam("new_status"),
        start_ms=func.coalesce(bindparam("new_start_ms", type_=runs.c.start_ms.type), runs.c.start_ms),
    ),
    "new_status", "new_start_ms", "run",
)  # fmt: skip
_CLEAR_ERROR = DriverStatement(
    update(runs).where(runs.c.run_pk == bindparam("run")).values(error=literal_column("NULL")), "run"
)
_SELECT_STATUS = DriverStatement(select(runs.c.status).where(runs.c.run_id == bindparam("run")), "run")


class SqlRuns:
    """Runs of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = ProcessLock(database.folder)

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
        properties: Mapping[str, str] | None = None,
        definition: Mapping[str, Any] | None = None,
        in_this_process: bool = False,
    ) -> RunRecord:
        tags, properties = dict(tags or {}), dict(properties or {})
        check_text_values("property", properties)
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
        lock_name = self._process.take() if in_this_process and status is RunStatus.RUNNING else None
        with self._database.write() as connection:
            driver = driver_connection(connection)
            experiment_location = _active_experiment_location(driver, experiment_id, experiment)
            added = _INSERT_RUN.run(
                driver, run_id, experiment, name, status.value, user_id, now, start_ms, parent_run_id
            )
            if not added.rowcount:
                raise AlreadyExists("run", run_id)
            key = run_log.active_run(driver, run_id)
            run_log.SET_TAG.run_many(driver, [(key, tag, value) for tag, value in tags.items()])
            _add_properties(connection, key, properties)
            if definition is not None:
                text = encodable(json.dumps(definition))
                connection.execute(insert(run_definitions).values(run_pk=key, definition=text))
            if lock_name is not None:
                put_process(driver, key, lock_name)
                self._process.going.add(run_id)
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
            number=key,
        )
        return RunRecord(info, metrics=[], params={}, tags=tags, properties=properties, datasets=[], models=[])

    def create_children(
        self,
        parent: RunInfo,
        tags_of_each: Sequence[Mapping[str, str]],
        *,
        user_id: str = "",
        start_ms: int,
        in_this_process: bool = False,
    ) -> list[RunRecord]:
        for tags in tags_of_each:
            check_text_values("tag", tags)
        with self._database.write():  # one transaction for all of them
            return [
                self.create(
                    parent.experiment_id,
                    user_id=user_id,
                    start_ms=start_ms,
                    parent_run_id=parent.run_id,
                    tags=tags,
                    in_this_process=in_this_process,
                )
                for tags in tags_of_each
            ]

    def get(self, run_id: str) -> RunRecord:
        with self._database.read() as connection:
            return run_record(connection, run_id)

    whole = get

    def definition(self, run_id: str) -> dict[str, Any]:
        of_run = select(run_definitions.c.definition).join(runs, run_definitions.c.run_pk == runs.c.run_pk)
        with self._database.read() as connection:
            text = connection.execute(of_run.where(runs.c.run_id == run_id)).scalar()
        return {} if text is None else dict(json.loads(text))

    def input_datasets(self, run_id: str) -> list[dict[str, Any]]:
        return [{"name": used.dataset.name, "digest": used.dataset.digest} for used in self.get(run_id).datasets]

    def search(
        self,
        experiment_ids: Sequence[str] | None,
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        order_by: Sequence[str | Ordering] = (),
        only_top: bool = False,
        counts: bool = False,
        max_results: int | None = 1000,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        """Return a page of runs, the latest started first unless `order_by` says otherwise.

        Without `experiment_ids` they are of the whole workspace; `only_top` leaves out the children of active runs.
        With `counts` the page has `found`, which costs less than to `count` apart where there is a filter.

        A page continues after the last run of the page before, so runs added meanwhile neither repeat nor hide any.
        """
        with self._database.read() as connection:
            rows, token = page_of_runs(
                connection,
                _keys(experiment_ids),
                view=view,
                filter=filter,
                order_by=order_by,
                only_top=only_top,
                counts=counts,
                max_results=max_results,
                page_token=page_token,
            )
            found = (rows[0].found if rows else 0) if counts else None
            return Page(run_records(connection, rows), token, found)

    def find(
        self,
        filter: RunFilter,
        *,
        experiment_id: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> Page[RunRecord]:
        key = None if experiment_id is None else experiment_key(experiment_id)
        with self._database.read() as connection:
            rows, token = page_of_list(
                connection, filter, experiment_key=key, max_results=max_results, page_token=page_token
            )
            return Page(run_records(connection, rows), token)

    def count(
        self,
        experiment_ids: Sequence[str] | None,
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
    ) -> int:
        """Return how many runs a search finds, on all its pages."""
        with self._database.read() as connection:
            return count_of_runs(connection, _keys(experiment_ids), view=view, filter=filter)

    def count_under(
        self, experiment_ids: Sequence[str] | None, *, filter: Filter = NO_FILTER, view: View = View.ACTIVE
    ) -> int:
        """Return how many runs of a search are children of active runs, which `only_top` leaves out."""
        with self._database.read() as connection:
            return count_of_children(connection, _keys(experiment_ids), view=view, filter=filter)

    def names(
        self, experiment_ids: Sequence[str] | None, *, view: View = View.ACTIVE, max_results: int = 1000
    ) -> RunNames:
        """Return who has runs, and the names of what was logged into them: of each the first, in order."""
        with self._database.read() as connection:
            return names_of_runs(connection, _keys(experiment_ids), view=view, max_results=max_results)

    def values(
        self,
        experiment_ids: Sequence[str] | None,
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        run_ids: Sequence[str] | None = None,
        wanted: Sequence[Ordering],
        max_results: int = 1000,
    ) -> list[RunValues]:
        """Return what orderings name of the runs that a search finds, children too, the latest started first.

        With `run_ids` only of these. Runs that lack one of the values are left out; NaN and ±Inf are no values.
        """
        with self._database.read() as connection:
            keys = _keys(experiment_ids)
            return values_of_runs(
                connection,
                keys,
                view=view,
                filter=filter,
                run_ids=run_ids,
                wanted=wanted,
                max_results=max_results,
            )

    def groups(
        self,
        experiment_ids: Sequence[str] | None,
        *,
        filter: Filter = NO_FILTER,
        view: View = View.ACTIVE,
        param: str,
        metrics: Sequence[Ordering] = (),
        max_results: int = 1000,
    ) -> list[RunGroup]:
        """Return the runs that a search finds, children too, grouped by the value of a param, the largest group first.

        Of each metric, named as an ordering names it, a group has the mean and the deviation.
        """
        with self._database.read() as connection:
            keys = _keys(experiment_ids)
            return groups_of_runs(
                connection, keys, view=view, filter=filter, param=param, metrics=metrics, max_results=max_results
            )

    def beside(self, run_id: str) -> tuple[str | None, str | None]:
        """Return the ids of the active runs of the experiment that started before and after a run, if any."""
        found = []
        with self._database.read() as connection:
            run = connection.execute(select(runs).where(runs.c.run_id == run_id)).first()
            if run is None:
                raise NotFound("run", run_id)
            here = tuple_(func.coalesce(runs.c.start_ms, 0), runs.c.run_pk)
            mine = tuple_(literal(run.start_ms or 0), literal(run.run_pk))
            among = (runs.c.experiment_id == run.experiment_id, runs.c.deleted_ms.is_(None))
            for condition, is_before in ((here < mine, True), (here > mine, False)):
                columns = [runs.c.start_ms, runs.c.run_pk]
                order = [column.desc() if is_before else column.asc() for column in columns]
                statement = select(runs.c.run_id).where(*among, condition).order_by(*order).limit(1)
                found.append(connection.execute(statement).scalar())
        return found[0], found[1]

    def count_children(self, run_ids: Sequence[str]) -> dict[str, int]:
        """Return how many active children each of these runs has; those that have none are left out."""
        with self._database.read() as connection:
            found = _COUNT_CHILDREN.run(driver_connection(connection), key_list(list(run_ids))).fetchall()
            return dict(found)

    def activity(self) -> RunActivity:
        """Return how many active runs the workspace has, and how many of them are running."""
        with self._database.read() as connection:
            (running,) = _COUNT_RUNNING.run(driver_connection(connection)).fetchone()
            (active,) = _COUNT_ACTIVE.run(driver_connection(connection)).fetchone()
            return RunActivity(active, int(running))

    def queue(self) -> list[QueueEntry]:
        """Return the active runs that haven't ended: of each compute target what runs, the oldest first, and then what
        waits; and those that weren't submitted."""
        with self._database.read() as connection:
            return queue_of(connection)

    def names_of(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Return the names of these runs, deleted ones too, by id; of those that there are."""
        statement = select(runs.c.run_id, runs.c.name).where(runs.c.run_id.in_(texts_in()))
        with self._database.read() as connection:
            return {row.run_id: row.name for row in connection.execute(statement, {"keys": key_list(run_ids)})}

    def roots_of(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Return the topmost run above each run, which is itself where it has no parent or the parent isn't there."""
        with self._database.read() as connection:
            return roots(connection, run_ids)

    def advance(self, run_id: str, status: RunStatus, *, start_ms: int | None = None) -> RunStatus:
        with self._database.write() as connection:
            driver = driver_connection(connection)
            _ADVANCE_RUN.run(driver, status.value, start_ms, run_id)
            row = _SELECT_STATUS.run(driver, run_id).fetchone()
        if row is None:
            raise NotFound("run", run_id)
        return RunStatus(row[0])

    def update(
        self,
        run_id: str,
        *,
        status: RunStatus | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        name: str | None = None,
        error: RunError | None = None,
        in_this_process: bool = False,
    ) -> RunInfo:
        start_ms = None if start_ms is None else check_integer("start time", start_ms)
        end_ms = None if end_ms is None else check_integer("end time", end_ms)
        if error is not None:
            error = RunError(encodable(error.code), encodable(error.message))
        if name:
            check_length("run name", name, MAX_TAG_VALUE_LENGTH)
        with self._database.write() as connection:
            driver = driver_connection(connection)
            new_status = None if status is None else status.value
            is_submitted = status is RunStatus.RUNNING and _is_script_that_goes_on(connection, run_id)
            new_error = None if error is None else json.dumps(asdict(error))
            before = connection.execute(select(runs.c.name).where(runs.c.run_id == run_id)).scalar() if name else None
            _UPDATE_RUN.run(driver, name or None, new_status, start_ms, end_ms, new_error, run_id)
            found = find_info(driver, run_id)
            if found is None:
                raise NotFound("run", run_id)
            key, info = found
            if info.deleted_ms is not None:
                raise Deleted("run", run_id)
            if status in ENDED:
                forget_process(driver, key)
                self._process.going.discard(run_id)
            elif status is RunStatus.RUNNING and not is_submitted:
                info = self._resume(driver, key, info, in_this_process)
            if name:
                run_log.SET_TAG.run(driver, key, run_log.NAME_TAG, name)
            if name and before is not None and name != before:
                keep_act(connection, self._database.now_ms(), "run", run_id, "renamed", f"from {before}")
        return info

    def _resume(self, driver: Driver, key: int, info: RunInfo, in_this_process: bool) -> RunInfo:
        """Have a run go on in this process, or in one that isn't known: why a process before didn't end it is past."""
        lock_name = self._process.take() if in_this_process else None
        if lock_name is None:
            forget_process(driver, key)
        else:
            put_process(driver, key, lock_name)
            self._process.going.add(info.run_id)
        if info.error is not None and info.error.code == PROCESS_ENDED:
            _CLEAR_ERROR.run(driver, key)
            info = replace(info, error=None)
        return info

    def leave(self) -> None:
        """Leave the runs that this process set going for others to go on with."""
        self._process.leave()

    def delete(self, run_id: str) -> None:
        """Delete a run; `restore` undoes it."""
        self._set_deleted(run_id, self._database.now_ms(), runs.c.deleted_ms.is_(None), "deleted")

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""
        self._set_deleted(run_id, None, runs.c.deleted_ms.is_not(None), "restored")

    def _set_deleted(self, run_id: str, deleted_ms: int | None, is_act: ColumnElement[bool], act: str) -> None:
        change = update(runs).where(runs.c.run_id == run_id).values(deleted_ms=deleted_ms)
        with self._database.write() as connection:
            if connection.execute(change.where(is_act)).rowcount:
                keep_act(connection, self._database.now_ms(), "run", run_id, act)
            elif not connection.execute(change).rowcount:
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
        """Append metric points, add params and set tags: all of them, or none.

        A point equal in name, value, step and time to one that is there is the same point and is kept once, as MLflow
        does. A param given again with its value is fine. Raises Deleted, Changed (param).
        """
        batch = run_log.Batch(points, params, tags, model_points)
        with self._database.write() as connection:
            batch.write(connection, run_id, self._database.now_ms)

    def delete_tag(self, run_id: str, name: str) -> None:
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            tag = run_tags.c
            if not connection.execute(delete(run_tags).where(tag.run_pk == key, tag.name == name)).rowcount:
                raise NotFound("tag", name, f"Run {run_id} has no such tag")
            if name == run_log.PARENT_TAG:
                connection.execute(update(runs).where(runs.c.run_pk == key).values(parent_run_id=None))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        check_text_values("tag", tags)
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            run_log.write_tags(connection, run_id, key, list(tags.items()), self._database.now_ms)

    def add_properties(self, run_id: str, properties: Mapping[str, str]) -> None:
        check_text_values("property", properties)
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            _add_properties(connection, key, properties)
            known = _properties(connection, key)
            for name, value in properties.items():
                if known[name] != value:
                    raise Changed("property", run_id, name, known[name], value)

    def log_inputs(
        self, run_id: str, *, datasets: Sequence[DatasetInput] = (), models: Sequence[RunModel] = ()
    ) -> None:
        """Record datasets that went into the run and models that went in or came out. Raises Deleted."""
        run_inputs.check_datasets(datasets)
        with self._database.write() as connection:
            key = run_log.active_run(driver_connection(connection), run_id)
            run_inputs.insert_datasets(connection, key, datasets)
            run_inputs.insert_models(connection, key, models)

    def list_datasets(self, experiment_ids: Sequence[str]) -> list[DatasetSummary]:
        """Return the datasets of the experiments' runs, at most 1000."""
        keys = [experiment_key(experiment_id) for experiment_id in experiment_ids]
        with self._database.read() as connection:
            return run_inputs.dataset_summaries(connection, keys)


def _keys(experiment_ids: Sequence[str] | None) -> list[int] | None:
    return None if experiment_ids is None else [experiment_key(experiment_id) for experiment_id in experiment_ids]


def _active_experiment_location(driver: Driver, experiment_id: str, key: int) -> str | None:
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


def _is_script_that_goes_on(connection: Connection, run_id: str) -> bool:
    """Whether a run is a submitted one that hasn't ended: its runner looks after it, whoever resumes it."""
    row = connection.execute(
        select(runs.c.status)
        .join(run_properties)
        .where(runs.c.run_id == run_id, run_properties.c.name == MACHINE_PROPERTY, runs.c.end_ms.is_(None))
    ).first()
    return row is not None and RunStatus(row.status) not in ENDED


def _add_properties(connection: Connection, key: int, properties: Mapping[str, str]) -> None:
    rows = [{"run_pk": key, "name": name, "value": value} for name, value in properties.items()]
    if rows:
        connection.execute(insert_new(run_properties), rows)


def _properties(connection: Connection, key: int) -> dict[str, str]:
    columns = run_properties.c
    rows = connection.execute(select(columns.name, columns.value).where(columns.run_pk == key))
    return {row.name: row.value for row in rows}
