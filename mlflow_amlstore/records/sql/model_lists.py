"""Listing versions of models as the `Run` vocabulary does: by name, run, tags and properties."""

from typing import Any

from sqlalchemy import Connection, Row, func, tuple_

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.models import is_prompt
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.sql.model_records import active_versions
from mlflow_amlstore.records.sql.named_values import have_values
from mlflow_amlstore.records.types import ModelFilter

_MODEL, _VERSION = tables.registered_models.c, tables.model_versions.c
_NEWEST_FIRST = [SortTerm(_MODEL.name), SortTerm(_VERSION.version, is_descending=True)]


def page_of_version_list(
    connection: Connection, filter: ModelFilter, *, max_results: int | None, page_token: str | None
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `active_versions`, by name and the newest first; no prompts. Raises PageTokenInvalid."""
    conditions = [
        ~is_prompt(tables.model_version_tags),
        *have_values(tables.model_version_tags, tables.model_versions, filter.tags),
        *have_values(tables.model_version_properties, tables.model_versions, filter.properties),
    ]
    if filter.name is not None:
        conditions.append(_MODEL.name == filter.name)
    if filter.run_id is not None:
        conditions.append(_VERSION.run_id == filter.run_id)
    statement = active_versions().where(*conditions)
    if filter.latest_only:
        found = statement.with_only_columns(_VERSION.registered_pk, func.max(_VERSION.version))
        newest = found.group_by(_VERSION.registered_pk)
        statement = active_versions().where(tuple_(_VERSION.registered_pk, _VERSION.version).in_(newest))
    query = ("version list", repr(filter))
    return fetch_page(connection, statement, _NEWEST_FIRST, max_results=max_results, page_token=page_token, query=query)
