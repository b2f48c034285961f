"""Reading registered models and versions whole, a page at a time: a fixed number of queries however many there are."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, tuple_

from mlflow_amlstore.records.sql.named_values import KEYS_PER_STATEMENT, in_chunks, values_by_owner
from mlflow_amlstore.records.tables import (
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_model_tags,
    registered_models,
)
from mlflow_amlstore.records.types import ModelRecord, ModelVersionRecord

_VersionKey = tuple[int, int]  # registered_pk, version


def active_versions() -> Select[Any]:
    """Select the versions that aren't deleted, with their model's name as `model_name`."""
    return (
        select(model_versions, registered_models.c.name.label("model_name"))
        .join(registered_models, registered_models.c.registered_pk == model_versions.c.registered_pk)
        .where(model_versions.c.deleted_ms.is_(None))
    )


def model_records(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelRecord]:
    """Return the records of these rows of `registered_models`, in their order."""
    keys = [row.registered_pk for row in rows]
    tags = values_by_owner(connection, registered_model_tags, keys)
    aliases = _aliases(connection, keys)
    latest = _latest_versions(connection, keys)
    return [
        ModelRecord(
            name=row.name,
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
            description=row.description,
            deployment_job_id=row.deployment_job_id,
            tags=tags[row.registered_pk],
            aliases=aliases[row.registered_pk],
            latest_versions=latest[row.registered_pk],
        )
        for row in rows
    ]


def version_records(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelVersionRecord]:
    """Return the records of rows that have the columns of `active_versions`, in their order."""
    keys = [(row.registered_pk, row.version) for row in rows]
    tags = _version_tags(connection, keys)
    aliases = _aliases(connection, sorted({row.registered_pk for row in rows}))
    return [
        ModelVersionRecord(
            name=row.model_name,
            version=row.version,
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
            description=row.description,
            user_id=row.user_id,
            stage=row.stage,
            source=row.source,
            storage_location=row.storage_location,
            run_id=row.run_id,
            run_link=row.run_link,
            status=row.status,
            status_message=row.status_message,
            model_id=row.model_id,
            tags=tags[row.registered_pk, row.version],
            aliases=[alias for alias, version in aliases[row.registered_pk].items() if version == row.version],
        )
        for row in rows
    ]


def _aliases(connection: Connection, keys: Sequence[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(dict)
    column = registered_model_aliases.c
    for chunk in in_chunks(keys):
        aliases = select(registered_model_aliases).where(column.registered_pk.in_(chunk)).order_by(column.alias)
        for key, alias, version in connection.execute(aliases):
            found[key][alias] = version
    return found


def _version_tags(connection: Connection, keys: Sequence[_VersionKey]) -> dict[_VersionKey, dict[str, str]]:
    found: dict[_VersionKey, dict[str, str]] = defaultdict(dict)
    column = model_version_tags.c
    at_a_time = KEYS_PER_STATEMENT // 2  # a key is two variables
    for start in range(0, len(keys), at_a_time):
        chunk = keys[start : start + at_a_time]
        tags = select(model_version_tags).where(tuple_(column.registered_pk, column.version).in_(chunk))
        for key, version, name, value in connection.execute(tags):
            found[key, version][name] = value
    return found


def _latest_versions(connection: Connection, keys: Sequence[int]) -> dict[int, list[ModelVersionRecord]]:
    """The newest version of each stage, by number."""
    column = model_versions.c
    rows: list[Row[Any]] = []
    for chunk in in_chunks(keys):
        newest = (
            select(column.registered_pk, func.max(column.version))
            .where(column.registered_pk.in_(chunk), column.deleted_ms.is_(None))
            .group_by(column.registered_pk, column.stage)
        )
        latest = active_versions().where(tuple_(column.registered_pk, column.version).in_(newest))
        rows += connection.execute(latest.order_by(column.registered_pk, column.version))
    found: dict[int, list[ModelVersionRecord]] = defaultdict(list)
    for row, record in zip(rows, version_records(connection, rows), strict=True):
        found[row.registered_pk].append(record)
    return found
