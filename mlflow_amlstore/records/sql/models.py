"""Registered models and versions in SQL: implements `common_store.CommonModels`. Reading them is in `model_records`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, exists, func, insert, select, update

from mlflow_amlstore.errors import AlreadyExists, Changed, InvalidValue, NotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import ConstraintViolated, insert_new, insert_or_set, locked
from mlflow_amlstore.records.locations import WORKSPACE_SCHEME, check_source
from mlflow_amlstore.records.search.filter import NO_FILTER, Filter
from mlflow_amlstore.records.search.models import page_of_models, page_of_versions
from mlflow_amlstore.records.search.prompts import PROMPT_TAG
from mlflow_amlstore.records.sql.acts import keep_act
from mlflow_amlstore.records.sql.model_lists import page_of_version_list
from mlflow_amlstore.records.sql.model_records import active_versions, model_records, version_records
from mlflow_amlstore.records.tables import (
    acts,
    model_version_properties,
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_model_tags,
    registered_models,
)
from mlflow_amlstore.records.types import ModelFilter, ModelRecord, ModelVersionRecord, Page
from mlflow_amlstore.records.validation import (
    check_alias,
    check_given,
    check_integer,
    check_model_name,
    check_model_tags,
    check_text_values,
    model_version_key,
)

STAGES = ("None", "Staging", "Production", "Archived")
READY = "READY"

# A prompt's versions have no files: one of MLflow's placeholders stands for their source.
_PROMPT_SOURCES = ("prompt-template", "dummy-source")

_NEW_STAGE, _ARCHIVED = "None", "Archived"
_STAGES_IN_USE = ("Staging", "Production")
_MODEL = "model"
_LATEST = "latest"  # the alias that always is the newest version


class SqlModels:
    """Registered models of one workspace and their versions. Prompts are models with MLflow's prompt tag."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        deployment_job_id: str | None = None,
    ) -> ModelRecord:
        """Register a name. Raises AlreadyExists."""
        check_model_name(name)
        tags = dict(tags or {})
        check_model_tags(tags)
        now = self._database.now_ms()
        with self._database.write() as connection:
            if not _add_model(connection, name, now, description, deployment_job_id):
                raise _name_taken(connection, name, is_prompt=PROMPT_TAG in tags)
            if tags:
                key = _model_key(connection, name)
                rows = [{"registered_pk": key, "name": tag, "value": value} for tag, value in tags.items()]
                connection.execute(insert(registered_model_tags), rows)
            return _model_record(connection, name)

    def get(self, name: str) -> ModelRecord:
        """Return a registered model."""
        with self._database.read() as connection:
            return _model_record(connection, name)

    def update(self, name: str, *, description: str | None, deployment_job_id: str | None = None) -> ModelRecord:
        """Set the description, and the deployment job where one is given."""
        values: dict[str, object] = {"description": description, "updated_ms": self._database.now_ms()}
        if deployment_job_id is not None:
            values["deployment_job_id"] = deployment_job_id
        with self._database.write() as connection:
            _change_model(connection, _model_key(connection, name), **values)
            return _model_record(connection, name)

    def rename(self, name: str, new_name: str) -> ModelRecord:
        """Rename a model with its versions. Raises AlreadyExists."""
        check_model_name(new_name, "new model name")
        now = self._database.now_ms()
        with self._database.write() as connection:
            key = _model_key(connection, name)
            try:
                with self._database.write() as part:
                    _change_model(part, key, name=new_name, updated_ms=now)
            except ConstraintViolated as error:
                is_prompt = PROMPT_TAG in _model_record(connection, name).tags
                raise _name_taken(connection, new_name, is_prompt=is_prompt) from error
            of_model = model_versions.c.registered_pk == key
            connection.execute(update(model_versions).where(of_model).values(updated_ms=now))
            if new_name != name:
                # What was done to the model stays with it.
                of_name = (acts.c.subject_kind == _MODEL, acts.c.subject_id == name)
                connection.execute(update(acts).where(*of_name).values(subject_id=new_name))
                keep_act(connection, now, _MODEL, new_name, "renamed", f"from {name}")
            return _model_record(connection, new_name)

    def delete(self, name: str) -> None:
        """Delete a model with all its versions, tags and aliases, for good; the files they point to stay."""
        with self._database.write() as connection:
            key = _model_key(connection, name)
            # Versions, tags and aliases go with it: their foreign keys cascade.
            connection.execute(delete(registered_models).where(registered_models.c.registered_pk == key))
            keep_act(connection, self._database.now_ms(), _MODEL, name, "deleted")

    def search(
        self,
        *,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 100,
        page_token: str | None = None,
        with_prompts: bool = False,
    ) -> Page[ModelRecord]:
        """Return a page of models by name; prompts where the filter asks for the prompt tag, or `with_prompts`."""
        with self._database.read() as connection:
            rows, token = page_of_models(
                connection,
                filter=filter,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
                with_prompts=with_prompts,
            )
            return Page(model_records(connection, rows), token)

    def count(self) -> int:
        """Return how many models there are, prompts left out."""
        is_prompt = exists().where(
            registered_model_tags.c.registered_pk == registered_models.c.registered_pk,
            registered_model_tags.c.name == PROMPT_TAG,
        )
        with self._database.read() as connection:
            statement = select(func.count()).select_from(registered_models).where(~is_prompt)
            return int(connection.execute(statement).scalar_one())

    def set_tag(self, name: str, tag: str, value: str) -> None:
        """Set a model's tag."""
        check_model_tags({tag: value})
        with self._database.write() as connection:
            key = _model_key(connection, name)
            new = {"registered_pk": key, "name": tag, "value": value}
            connection.execute(insert_or_set(registered_model_tags, ["value"], new))

    def delete_tag(self, name: str, tag: str) -> None:
        """Delete a model's tag; nothing happens where there is none."""
        check_given("tag", tag)
        with self._database.write() as connection:
            key = _model_key(connection, name)
            column = registered_model_tags.c
            connection.execute(delete(registered_model_tags).where(column.registered_pk == key, column.name == tag))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, taking it from the one it was at."""
        check_alias(alias)
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            new = {"registered_pk": row.registered_pk, "alias": alias, "version": row.version}
            connection.execute(insert_or_set(registered_model_aliases, ["version"], new))
            act, detail = "set the alias", f"{alias}: version {row.version}"
            keep_act(connection, self._database.now_ms(), _MODEL, name, act, detail)

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; nothing happens where there is none."""
        check_alias(alias)
        with self._database.write() as connection:
            key = _model_key(connection, name)
            column = registered_model_aliases.c
            of_alias = delete(registered_model_aliases).where(column.registered_pk == key, column.alias == alias)
            if connection.execute(of_alias).rowcount:
                keep_act(connection, self._database.now_ms(), _MODEL, name, "deleted the alias", alias)

    def create_version(
        self,
        name: str,
        source: str,
        *,
        storage_location: str | None = None,
        run_id: str | None = None,
        run_link: str | None = None,
        description: str | None = None,
        user_id: str | None = None,
        model_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        """Add the next version of a model. `storage_location` is where the files really are, `source` by default.

        Raises PathUnsafe for a source that names this machine's files rather than a stored object.
        """
        tags, properties = dict(tags or {}), dict(properties or {})
        check_model_tags(tags)
        check_text_values("property", properties)
        source = _checked_source(source, is_prompt=PROMPT_TAG in tags)
        storage_location = source if storage_location is None else check_source(storage_location)
        now = self._database.now_ms()
        with self._database.write() as connection:
            key = _model_key(connection, name)
            of_model = model_versions.c.registered_pk == key
            highest = connection.execute(select(func.max(model_versions.c.version)).where(of_model)).scalar()
            version = (highest or 0) + 1  # deleted versions count too, so that a number is never given twice
            connection.execute(
                insert(model_versions).values(
                    registered_pk=key,
                    version=version,
                    description=description,
                    user_id=user_id,
                    stage=_NEW_STAGE,
                    source=source,
                    storage_location=storage_location,
                    run_id=run_id,
                    run_link=run_link,
                    status=READY,
                    model_id=model_id,
                    created_ms=now,
                    updated_ms=now,
                )
            )
            for table, values in ((model_version_tags, tags), (model_version_properties, properties)):
                of_version = {"registered_pk": key, "version": version}
                rows = [{**of_version, "name": value_name, "value": value} for value_name, value in values.items()]
                if rows:
                    connection.execute(insert(table), rows)
            _change_model(connection, key, updated_ms=now)
            keep_act(connection, now, _MODEL, name, "registered", f"version {version}")
            if run_id:
                keep_act(connection, now, "run", run_id, "registered", f"{name}, version {version}")
            return _version_record(connection, name, version)

    def register(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> ModelVersionRecord:
        check_model_name(name)
        with self._database.write() as connection:
            is_new = _add_model(connection, name, self._database.now_ms())
            if not is_new and PROMPT_TAG in _model_record(connection, name).tags:
                raise _name_taken(connection, name, is_prompt=False)
            return self.create_version(
                name, source, run_id=run_id, description=description, tags=tags, properties=properties
            )

    def get_version(self, name: str, version: int) -> ModelVersionRecord:
        with self._database.read() as connection:
            return _version_record(connection, name, version)

    def get_version_by_alias(self, name: str, alias: str) -> ModelVersionRecord:
        """Return the version that an alias points at."""
        with self._database.read() as connection:
            key = _model_row(connection, name).registered_pk
            if str(alias).lower() == _LATEST:
                return _newest_version(connection, name, key)
            check_alias(alias)
            column = registered_model_aliases.c
            version = connection.execute(
                select(column.version).where(column.registered_pk == key, column.alias == alias)
            ).scalar()
            if version is None:  # InvalidValue and not NotFound, because MLflow answers INVALID_PARAMETER_VALUE
                raise InvalidValue("alias", alias, f"not found: registered model {name!r} has no such alias")
            return _version_record(connection, name, version)

    def latest_versions(self, name: str, stages: Sequence[str] = ()) -> list[ModelVersionRecord]:
        """Return the newest version of each stage, or of the stages named."""
        wanted = {_canonical_stage(stage) for stage in stages} or set(STAGES)
        return [version for version in self.get(name).latest_versions if version.stage in wanted]

    def search_versions(
        self,
        *,
        filter: Filter = NO_FILTER,
        order_by: Sequence[str] = (),
        max_results: int = 10_000,
        page_token: str | None = None,
        with_prompts: bool = False,
    ) -> Page[ModelVersionRecord]:
        """Return a page of versions by model name, the newest first; prompts' as in `search`."""
        with self._database.read() as connection:
            rows, token = page_of_versions(
                connection,
                filter=filter,
                order_by=order_by,
                max_results=max_results,
                page_token=page_token,
                with_prompts=with_prompts,
            )
            return Page(version_records(connection, rows), token)

    def find_versions(
        self, filter: ModelFilter, *, max_results: int | None = None, page_token: str | None = None
    ) -> Page[ModelVersionRecord]:
        with self._database.read() as connection:
            rows, token = page_of_version_list(connection, filter, max_results=max_results, page_token=page_token)
            return Page(version_records(connection, rows), token)

    def location_of(self, version: ModelVersionRecord) -> str | None:
        location = version.storage_location
        return location.removeprefix(WORKSPACE_SCHEME) if location.startswith(WORKSPACE_SCHEME) else None

    def update_version(self, name: str, version: int, *, description: str | None) -> ModelVersionRecord:
        """Set a version's description."""
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            _change_version(connection, row, description=description, updated_ms=self._database.now_ms())
            return _version_record(connection, name, version)

    def set_stage(self, name: str, version: int, stage: str, *, archive_existing: bool = False) -> ModelVersionRecord:
        """Move a version to a stage; `archive_existing` sends the others of that stage to Archived."""
        stage = _canonical_stage(stage)
        if archive_existing and stage not in _STAGES_IN_USE:
            raise InvalidValue(
                "archive_existing",
                archive_existing,
                f"existing versions can be archived when one moves to {' or '.join(_STAGES_IN_USE)}, not to {stage}",
            )
        now = self._database.now_ms()
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            if archive_existing:
                column = model_versions.c
                others = update(model_versions).where(
                    column.registered_pk == row.registered_pk,
                    column.version != row.version,
                    column.stage == stage,
                    column.deleted_ms.is_(None),
                )
                connection.execute(others.values(stage=_ARCHIVED, updated_ms=now))
            _change_version(connection, row, stage=stage, updated_ms=now)
            keep_act(connection, now, _MODEL, name, "set the stage", f"version {row.version}: {stage}")
            _change_model(connection, row.registered_pk, updated_ms=now)
            return _version_record(connection, name, version)

    def set_version_tag(self, name: str, version: int, tag: str, value: str) -> None:
        check_model_tags({tag: value})
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            new = {"registered_pk": row.registered_pk, "version": row.version, "name": tag, "value": value}
            connection.execute(insert_or_set(model_version_tags, ["value"], new))

    def delete_version_tag(self, name: str, version: int, tag: str) -> None:
        check_given("tag", tag)
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            named = model_version_tags.c.name == tag
            connection.execute(delete(model_version_tags).where(_of_version(model_version_tags, row), named))

    def add_version_properties(self, name: str, version: int, properties: Mapping[str, str]) -> None:
        check_text_values("property", properties)
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            of_version = {"registered_pk": row.registered_pk, "version": row.version}
            rows = [{**of_version, "name": key, "value": value} for key, value in properties.items()]
            if rows:
                connection.execute(insert_new(model_version_properties), rows)
            known = version_records(connection, [row])[0].properties
            for key, value in properties.items():
                if known[key] != value:
                    raise Changed("property", f"{name}:{version}", key, known[key], value, owner="model version")

    def delete_version(self, name: str, version: int) -> None:
        now = self._database.now_ms()
        with self._database.write() as connection:
            row = _version_row(connection, name, version)
            for table in (registered_model_aliases, model_version_tags, model_version_properties):
                connection.execute(delete(table).where(_of_version(table, row)))
            # The row stays, emptied, to keep its number from being given again.
            _change_version(
                connection,
                row,
                deleted_ms=now,
                updated_ms=now,
                source="",
                storage_location="",
                **dict.fromkeys(("description", "user_id", "run_id", "run_link", "status_message", "model_id")),
            )
            _change_model(connection, row.registered_pk, updated_ms=now)
            keep_act(connection, now, _MODEL, name, "deleted", f"version {row.version}")


def _checked_source(source: str, *, is_prompt: bool) -> str:
    return source if is_prompt and source in _PROMPT_SOURCES else check_source(source)


def _canonical_stage(stage: object) -> str:
    for known in STAGES:
        if isinstance(stage, str) and stage.lower() == known.lower():
            return known
    raise InvalidValue("stage", stage, f"must be one of {', '.join(STAGES)}")


def _add_model(
    connection: Connection, name: str, now: int, description: str | None = None, deployment_job_id: str | None = None
) -> bool:
    """Add a model, unless the name is taken; return whether it was free."""
    new = {"name": name, "description": description, "deployment_job_id": deployment_job_id}
    added = insert_new(registered_models).values(created_ms=now, updated_ms=now, **new).inline()
    return connection.execute(added).rowcount == 1


def _name_taken(connection: Connection, name: str, *, is_prompt: bool) -> AlreadyExists:
    """The error for a name that is taken, by a model or by a prompt: they share their names."""
    is_taken_by_prompt = PROMPT_TAG in _model_record(connection, name).tags
    kind = "prompt" if is_taken_by_prompt else "registered model"
    hint = "A prompt and a model can't have the same name; choose another" if is_prompt != is_taken_by_prompt else ""
    return AlreadyExists(kind, name, hint)


def _model_row(connection: Connection, name: str, *, is_locked: bool = False) -> Row[Any]:
    named = select(registered_models).where(registered_models.c.name == check_model_name(name))
    row = connection.execute(locked(named) if is_locked else named).first()
    if row is None:
        raise NotFound("registered model", name)
    return row


def _model_key(connection: Connection, name: str) -> int:
    """The key of a model that is this transaction's alone to write to."""
    return int(_model_row(connection, name, is_locked=True).registered_pk)


def _model_record(connection: Connection, name: str) -> ModelRecord:
    return model_records(connection, [_model_row(connection, name)])[0]


def _version_row(connection: Connection, name: str, version: object) -> Row[Any]:
    check_model_name(name)
    number = check_integer("version", model_version_key(version))
    row = connection.execute(
        active_versions().where(registered_models.c.name == name, model_versions.c.version == number)
    ).first()
    if row is None:
        raise NotFound("model version", f"{name}/{number}")
    return row


def _version_record(connection: Connection, name: str, version: object) -> ModelVersionRecord:
    return version_records(connection, [_version_row(connection, name, version)])[0]


def _newest_version(connection: Connection, name: str, key: int) -> ModelVersionRecord:
    newest = active_versions().where(model_versions.c.registered_pk == key)
    row = connection.execute(newest.order_by(model_versions.c.version.desc()).limit(1)).first()
    if row is None:
        raise NotFound("model version", f"{name}@{_LATEST}", "The model has no version yet")
    return version_records(connection, [row])[0]


def _change_model(connection: Connection, key: int, **values: object) -> None:
    connection.execute(update(registered_models).where(registered_models.c.registered_pk == key).values(**values))


def _change_version(connection: Connection, row: Row[Any], **values: object) -> None:
    connection.execute(update(model_versions).where(_of_version(model_versions, row)).values(**values))


def _of_version(table: Table, row: Row[Any]) -> ColumnElement[bool]:
    return and_(table.c.registered_pk == row.registered_pk, table.c.version == row.version)
