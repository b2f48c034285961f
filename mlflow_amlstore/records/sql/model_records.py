"""Reading registered models and versions whole, a page at a time: a fixed number of queries however many there are."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, select, tuple_

from mlflow_amlstore.records.database import driver_connection
from mlflow_amlstore.records.dialects import key_list, keys_in, pairs_in
from mlflow_amlstore.records.sql.named_values import NamedValues
from mlflow_amlstore.records.tables import (
    model_version_properties,
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_model_tags,
    registered_models,
)
from mlflow_amlstore.records.types import ModelRecord, ModelVersionRecord

_VersionKey = tuple[int, int]  # registered_pk, version

_MODEL_TAGS = NamedValues(registered_model_tags)


def active_versions() -> Select[Any]:
    """Select the versions that aren't deleted, with their model's name as `model_name`."""
    return (
        select(model_versions, registered_models.c.name.label("model_name"))
        .join(registered_models, registered_models.c.registered_pk == model_versions.c.registered_pk)
        .where(model_versions.c.deleted_ms.is_(None))
    )


def model_records(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelRecord]:
    """Return the records of these rows of `registered_models`, in their order."""
    keys = key_list([row.registered_pk for row in rows])
    tags = _MODEL_TAGS.of_owners(driver_connection(connection), keys)
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
    tags = _version_values(connection, model_version_tags, keys)
    properties = _version_values(connection, model_version_properties, keys)
    aliases = _aliases(connection, key_list(sorted({row.registered_pk for row in rows})))
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
            properties=properties[row.registered_pk, row.version],
        )
        for row in rows
    ]


def _aliases(connection: Connection, keys: str) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(dict)
    alias = registered_model_aliases.c
    aliases = select(registered_model_aliases).where(alias.registered_pk.in_(keys_in())).order_by(alias.alias)
    for key, name, version in connection.execute(aliases, {"keys": keys}):
        found[key][name] = version
    return found


def _version_values(
    connection: Connection, table: Table, keys: Sequence[_VersionKey]
) -> dict[_VersionKey, dict[str, str]]:
    found: dict[_VersionKey, dict[str, str]] = defaultdict(dict)
    values = select(table).where(tuple_(table.c.registered_pk, table.c.version).in_(pairs_in()))
    for key, version, name, value in connection.execute(values, {"keys": key_list(keys)}):
        found[key, version][name] = value
    return found


def _latest_versions(connection: Connection, keys: str) -> dict[int, list[ModelVersionRecord]]:
    """The newest version of each stage, by number."""
    version = model_versions.c
    newest = (
        select(version.registered_pk, func.max(version.version))
        .where(version.registered_pk.in_(keys_in()), version.deleted_ms.is_(None))
        .group_by(version.registered_pk, version.stage)
    )
    latest = active_versions().where(tuple_(version.registered_pk, version.version).in_(newest))
    rows = connection.execute(latest.order_by(version.registered_pk, version.version), {"keys": keys}).all()
    found: dict[int, list[ModelVersionRecord]] = defaultdict(list)
    for row, record in zip(rows, version_records(connection, rows), strict=True):
        found[row.registered_pk].append(record)
    return found
