"""Experiments in SQL: implements `common_store.CommonExperiments`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, literal_column, select, update

from mlflow_amlstore.errors import AlreadyExists, Deleted, InvalidState, NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.dialects import ConstraintViolated, DescNullsLast, insert_new, insert_or_set, key_list
from mlflow_amlstore.records.locations import check_artifact_location
from mlflow_amlstore.records.search.experiments import page_of_experiments
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.sql.acts import keep_act
from mlflow_amlstore.records.sql.driver_statement import DriverStatement
from mlflow_amlstore.records.sql.named_values import NamedValues
from mlflow_amlstore.records.tables import experiment_tags, experiments, runs
from mlflow_amlstore.records.types import ExperimentActivity, ExperimentRecord, Page, RunStatus, View
from mlflow_amlstore.records.validation import (
    MAX_EXPERIMENT_TAG_VALUE_LENGTH,
    check_experiment_name,
    check_tags,
    experiment_key,
)

_TAGS = NamedValues(experiment_tags)
_COUNT_BY_STATUS = DriverStatement(
    select(runs.c.experiment_id, runs.c.status, func.count(), func.max(runs.c.start_ms))
    .where(runs.c.deleted_ms.is_(None))
    .group_by(runs.c.experiment_id, runs.c.status)
)
_SELECT_LATEST_USER = DriverStatement(
    select(runs.c.user_id)
    .where(runs.c.experiment_id == bindparam("experiment"), runs.c.deleted_ms.is_(None))
    .order_by(DescNullsLast(runs.c.start_ms), runs.c.run_id)
    .limit(literal_column("1"))
    .offset(literal_column("0")),  # SQLAlchemy would bind this 0 for SQLite
    "experiment",
)


class SqlExperiments:
    """Experiments of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, *, artifact_location: str | None = None, tags: Mapping[str, str] | None = None) -> str:
        check_experiment_name(name)
        check_tags((tags or {}).items(), max_value_length=MAX_EXPERIMENT_TAG_VALUE_LENGTH)
        if artifact_location:
            artifact_location = check_artifact_location(artifact_location)
        now = self._database.now_ms()
        with self._database.write() as connection:
            added = connection.execute(
                insert_new(experiments)
                .values(name=name, artifact_location=artifact_location or None, created_ms=now, updated_ms=now)
                .inline()
            )
            if not added.rowcount:
                raise self._name_taken(connection, name)
            named = select(experiments.c.experiment_id).where(experiments.c.name == name)
            key: int = connection.execute(named).scalar_one()
            if tags:
                rows = [{"experiment_id": key, "name": tag, "value": value} for tag, value in tags.items()]
                connection.execute(insert(experiment_tags), rows)
        return str(key)

    def get(self, experiment_id: str) -> ExperimentRecord:
        with self._database.read() as connection:
            return _records(connection, [_row(connection, experiment_id)])[0]

    def find_by_name(self, name: str) -> ExperimentRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(experiments).where(experiments.c.name == name)).first()
            return None if row is None else _records(connection, [row])[0]

    def search(
        self,
        *,
        view: View = View.ACTIVE,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page[ExperimentRecord]:
        with self._database.read() as connection:
            rows, token = page_of_experiments(
                connection,
                view=view,
                filter=filter,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
            )
            return Page(_records(connection, rows), token)

    def rename(self, experiment_id: str, name: str) -> None:
        """Rename an active experiment. Raises InvalidState for a deleted one, AlreadyExists."""
        check_experiment_name(name)
        with self._database.write() as connection:
            row = _row(connection, experiment_id)
            if row.deleted_ms is not None:
                raise InvalidState(f"Experiment {experiment_id} is deleted and can't be renamed; restore it first")
            try:
                with self._database.write() as part:
                    _change(part, row.experiment_id, name=name, updated_ms=self._database.now_ms())
            except ConstraintViolated as error:
                raise self._name_taken(connection, name) from error
            if name != row.name:
                self._keep(connection, experiment_id, "renamed", f"from {row.name}")

    def activity(self) -> dict[str, ExperimentActivity]:
        """Return what goes on in each experiment that has active runs, by its id."""
        found: dict[str, ExperimentActivity] = {}
        with self._database.read() as connection:
            driver = driver_connection(connection)
            of_experiments: dict[int, list[tuple[str, int, int | None]]] = defaultdict(list)
            for key, *of_status in _COUNT_BY_STATUS.run(driver).fetchall():
                of_experiments[key].append(tuple(of_status))
            for key, counted in of_experiments.items():
                ((owner,),) = _SELECT_LATEST_USER.run(driver, key).fetchall()
                started = [last_ms for _, _, last_ms in counted if last_ms is not None]
                found[str(key)] = ExperimentActivity(
                    runs=sum(count for _, count, _ in counted),
                    running=sum(count for status, count, _ in counted if status == RunStatus.RUNNING.value),
                    last_ms=max(started, default=None),
                    owner=owner,
                )
        return found

    def count(self) -> int:
        """Return how many active experiments there are."""
        with self._database.read() as connection:
            statement = select(func.count()).select_from(experiments).where(experiments.c.deleted_ms.is_(None))
            return int(connection.execute(statement).scalar_one())

    def delete(self, experiment_id: str) -> None:
        now = self._database.now_ms()
        with self._database.write() as connection:
            row = _row(connection, experiment_id)
            if row.deleted_ms is not None:
                raise NotFound("active experiment", experiment_id, "It is deleted already")
            _change(connection, row.experiment_id, deleted_ms=now, updated_ms=now)
            of_experiment = runs.c.experiment_id == row.experiment_id
            connection.execute(update(runs).where(of_experiment, runs.c.deleted_ms.is_(None)).values(deleted_ms=now))
            self._keep(connection, experiment_id, "deleted")

    def restore(self, experiment_id: str) -> None:
        with self._database.write() as connection:
            row = _row(connection, experiment_id)
            if row.deleted_ms is None:
                raise NotFound("deleted experiment", experiment_id, "It is not deleted")
            _change(connection, row.experiment_id, deleted_ms=None, updated_ms=self._database.now_ms())
            # As MLflow does: all its runs come back, those too that were deleted before it.
            connection.execute(update(runs).where(runs.c.experiment_id == row.experiment_id).values(deleted_ms=None))
            self._keep(connection, experiment_id, "restored")

    def set_tag(self, experiment_id: str, name: str, value: str) -> None:
        check_tags([(name, value)], max_value_length=MAX_EXPERIMENT_TAG_VALUE_LENGTH)
        with self._database.write() as connection:
            key = _active_key(connection, experiment_id)
            new = {"experiment_id": key, "name": name, "value": value}
            connection.execute(insert_or_set(experiment_tags, ["value"], new))

    def delete_tag(self, experiment_id: str, name: str) -> None:
        with self._database.write() as connection:
            key = _active_key(connection, experiment_id)
            tag = experiment_tags.c
            removed = connection.execute(
                delete(experiment_tags).where(tag.experiment_id == key, tag.name == name)
            ).rowcount
            if not removed:
                raise NotFound("tag", name, f"Experiment {experiment_id} has no such tag")

    def _keep(self, connection: Connection, experiment_id: object, act: str, detail: str = "") -> None:
        keep_act(connection, self._database.now_ms(), "experiment", str(experiment_id), act, detail)

    @staticmethod
    def _name_taken(connection: Connection, name: str) -> AlreadyExists:
        deleted = connection.execute(select(experiments.c.deleted_ms).where(experiments.c.name == name)).scalar()
        hint = "It is deleted: restore it, remove it for good with `amlstore gc`, or choose another name"
        return AlreadyExists("experiment", name, hint if deleted is not None else "")


def active_experiment(connection: Connection, experiment_id: object) -> Row[tuple[int, str | None]]:
    """Return `(experiment_id, artifact_location)` of an active experiment. Raises NotFound, Deleted."""
    row = _row(connection, experiment_id)
    if row.deleted_ms is not None:
        raise Deleted("experiment", experiment_id)
    return row


def _active_key(connection: Connection, experiment_id: str) -> int:
    return int(active_experiment(connection, experiment_id).experiment_id)


def _row(connection: Connection, experiment_id: object) -> Row[tuple[int, str | None]]:
    key = experiment_key(experiment_id)
    row = connection.execute(select(experiments).where(experiments.c.experiment_id == key)).first()
    if row is None:
        raise NotFound("experiment", experiment_id, "No Experiment with that id exists")
    return row


def _change(connection: Connection, key: int, **values: object) -> None:
    connection.execute(update(experiments).where(experiments.c.experiment_id == key).values(**values))


def _records(connection: Connection, rows: Sequence[Row[tuple[int, str | None]]]) -> list[ExperimentRecord]:
    tags = _TAGS.of_owners(driver_connection(connection), key_list([row.experiment_id for row in rows]))
    return [
        ExperimentRecord(
            experiment_id=str(row.experiment_id),
            name=row.name,
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
            deleted_ms=row.deleted_ms,
            artifact_location=row.artifact_location,
            tags=tags[row.experiment_id],
        )
        for row in rows
    ]
