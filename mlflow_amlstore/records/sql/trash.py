"""Deleting for good what is deleted."""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select

from mlflow_amlstore.errors import DiskFull, WorkspaceBusy
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.locations import (
    WORKSPACE_SCHEME,
    logged_model_container,
    run_container,
    split_location,
)
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.records.tables import (
    acts,
    experiments,
    files,
    logged_models,
    model_versions,
    points,
    run_properties,
    runs,
    series,
)
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY, TrashContents
from mlflow_amlstore.records.validation import experiment_key

_ABANDONED_AFTER_MS = 24 * 3600 * 1000
# A run may have been restored by itself; its experiment is kept for it.
_has_active_runs = exists().where(runs.c.experiment_id == experiments.c.experiment_id, runs.c.deleted_ms.is_(None))


class SqlTrash:
    """What of one workspace is deleted and can still be restored: experiments, runs and logged models."""

    def __init__(self, database: Database, files: SqlFiles) -> None:
        self._database = database
        self._files = files

    def list_deleted(self, *, older_than_ms: int = 0) -> TrashContents:
        """Return what was deleted at least that long ago."""
        before = self._database.now_ms() - older_than_ms
        with self._database.read() as connection:

            def deleted(table: Table, key: ColumnElement[object], *also: ColumnElement[bool]) -> list[str]:
                chosen = select(key).where(table.c.deleted_ms <= before, *also).order_by(key)
                return [str(value) for value in connection.execute(chosen).scalars()]

            return TrashContents(
                experiment_ids=deleted(experiments, experiments.c.experiment_id, ~_has_active_runs),
                run_ids=deleted(runs, runs.c.run_id),
                model_ids=deleted(logged_models, logged_models.c.model_id),
            )

    def empty(self, contents: TrashContents) -> int:
        """Delete these for good, with their metrics and files, and return the bytes of disk given back.

        With them go uploads that no model version is of, a day after their last file came. What was restored since it
        was listed is left alone.
        """
        freed = self._files.sweep()  # first, as it needs no room in the database
        for run_id in contents.run_ids:
            freed += self.remove_run(run_id)
        for model_id in contents.model_ids:
            freed += self.remove_logged_model(model_id)
        for experiment_id in contents.experiment_ids:
            freed += self.remove_experiment(experiment_id)
        freed += self._remove_abandoned()
        if contents:
            with suppress(DiskFull, WorkspaceBusy):  # what is deleted stays so; only the file doesn't get smaller yet
                self._database.compact()
        return freed

    def _remove_abandoned(self) -> int:
        """Remove uploads that no model version is of, and snapshots that no run has, a day after their last file came
        or later."""
        with self._database.write() as connection:
            hashes = _remove_names(connection, [*self._unregistered(connection), *self._unnamed(connection)])
        return self._files.remove_unnamed(hashes)

    def _unregistered(self, connection: Connection) -> list[str]:
        sources = select(model_versions.c.storage_location).where(
            model_versions.c.storage_location.startswith(f"{WORKSPACE_SCHEME}uploads/", autoescape=True)
        )
        registered = {
            split_location(location.removeprefix(WORKSPACE_SCHEME))[0]
            for location in connection.execute(sources).scalars()
        }
        return [upload for upload in self._old_containers(connection, "uploads") if upload not in registered]

    def _unnamed(self, connection: Connection) -> list[str]:
        column = run_properties.c
        named = connection.execute(select(column.value).where(column.name == SNAPSHOT_PROPERTY).distinct())
        kept = {f"snapshots/{snapshot_id}/artifacts" for snapshot_id in named.scalars()}
        return [snapshot for snapshot in self._old_containers(connection, "snapshots") if snapshot not in kept]

    def _old_containers(self, connection: Connection, kind: str) -> list[str]:
        before = self._database.now_ms() - _ABANDONED_AFTER_MS
        column = files.c
        old = (
            select(column.container)
            .where(column.container > f"{kind}/", column.container < f"{kind}0")  # "0" follows "/"
            .group_by(column.container)
            .having(func.max(column.modified_ms) < before)
        )
        return list(connection.execute(old).scalars())

    def remove_run(self, run_id: str) -> int:
        """Delete a deleted run for good, and return the bytes of disk given back. One that isn't deleted stays."""
        with self._database.write() as connection:
            row = connection.execute(
                select(runs.c.run_pk, runs.c.experiment_id)
                .where(runs.c.run_id == run_id, runs.c.deleted_ms.is_not(None))
                .with_for_update()
            ).first()
            if row is None:
                return 0
            # The points of a long run are deleted here rather than by a cascade, which would go through them singly.
            of_run = select(series.c.series_id).where(series.c.run_pk == row.run_pk)
            connection.execute(delete(points).where(points.c.series_id.in_(of_run)))
            connection.execute(delete(runs).where(runs.c.run_pk == row.run_pk))
            _forget_acts(connection, "run", [run_id])
            hashes = _remove_names(connection, [run_container(str(row.experiment_id), run_id)])
        return self._files.remove_unnamed(hashes)

    def remove_logged_model(self, model_id: str) -> int:
        """As `remove_run`, of a logged model."""
        column = logged_models.c
        with self._database.write() as connection:
            experiment = connection.execute(
                select(column.experiment_id)
                .where(column.model_id == model_id, column.deleted_ms.is_not(None))
                .with_for_update()
            ).scalar()
            if experiment is None:
                return 0
            connection.execute(delete(logged_models).where(column.model_id == model_id))
            hashes = _remove_names(connection, [logged_model_container(str(experiment), model_id)])
        return self._files.remove_unnamed(hashes)

    def remove_experiment(self, experiment_id: str) -> int:
        """As `remove_run`, of an experiment with all its runs; one of which a run isn't deleted stays."""
        key, column = experiment_key(experiment_id), experiments.c
        with self._database.write() as connection:
            chosen = select(column.experiment_id).where(
                column.experiment_id == key, column.deleted_ms.is_not(None), ~_has_active_runs
            )
            if connection.execute(chosen.with_for_update()).first() is None:
                return 0
            run_ids = list(connection.execute(select(runs.c.run_id).where(runs.c.experiment_id == key)).scalars())
            models = select(logged_models.c.model_id).where(logged_models.c.experiment_id == key)
            containers = [run_container(str(key), run_id) for run_id in run_ids]
            containers += [logged_model_container(str(key), model) for model in connection.execute(models).scalars()]
            connection.execute(delete(experiments).where(column.experiment_id == key))
            _forget_acts(connection, "experiment", [str(key)])
            _forget_acts(connection, "run", run_ids)
            hashes = _remove_names(connection, containers)
        return self._files.remove_unnamed(hashes)


def _forget_acts(connection: Connection, kind: str, subject_ids: Sequence[str]) -> None:
    of_subjects = acts.c.subject_id.in_(texts_in().params(keys=key_list(subject_ids)))
    connection.execute(delete(acts).where(acts.c.subject_kind == kind, of_subjects))


def _remove_names(connection: Connection, containers: Sequence[str]) -> list[str]:
    """Delete the files of these containers from the records, and return the hashes of their contents."""
    hashes: list[str] = []
    for container in containers:
        of_container = files.c.container == container
        hashes += connection.execute(select(files.c.sha256).where(of_container)).scalars()
        connection.execute(delete(files).where(of_container))
    return hashes
