"""Listing runs as the `Run` vocabulary does: by experiment or parent, type, tags, properties and status."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.sql.named_values import have_values
from mlflow_amlstore.records.types import RUN_TYPE_PROPERTY, RunFilter

_RUN = tables.runs.c
_NEWEST_FIRST = [
    SortTerm(_RUN.start_ms, is_descending=True, is_nullable=True),
    SortTerm(_RUN.run_pk, is_descending=True),
]


def page_of_list(
    connection: Connection,
    filter: RunFilter,
    *,
    experiment_key: int | None,
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `tables.RUN_FACTS` of active runs, the latest started first. Raises PageTokenInvalid."""
    statement = select(*tables.RUN_FACTS).where(_RUN.deleted_ms.is_(None))
    if experiment_key is not None:
        statement = statement.where(_RUN.experiment_id == experiment_key)
    statement = _among(statement, filter)
    properties = dict(filter.properties)
    if filter.run_type is not None:
        properties[RUN_TYPE_PROPERTY] = filter.run_type
    for table, wanted in ((tables.run_tags, filter.tags), (tables.run_properties, properties)):
        statement = statement.where(*have_values(table, tables.runs, wanted))
    if filter.status is not None:
        statement = statement.where(_RUN.status == filter.status.value)
    query = ("run list", experiment_key, repr(filter))
    return fetch_page(connection, statement, _NEWEST_FIRST, max_results=max_results, page_token=page_token, query=query)


def _among(statement: Select[Any], filter: RunFilter) -> Select[Any]:
    if filter.parent_run_id is None:
        return statement if filter.include_children else statement.where(_RUN.parent_run_id.is_(None))
    if not filter.recursive:
        return statement.where(_RUN.parent_run_id == filter.parent_run_id)
    below = select(_RUN.run_id).where(_RUN.parent_run_id == filter.parent_run_id).cte("below", recursive=True)
    child = tables.runs.alias("child")
    # UNION, not UNION ALL: a run that is its own grandparent, which a tag can say, ends there.
    below = below.union(select(child.c.run_id).where(child.c.parent_run_id == below.c.run_id))
    is_below, is_itself = _RUN.run_id.in_(select(below.c.run_id)), _RUN.run_id == filter.parent_run_id
    return statement.where(is_below | is_itself if filter.with_itself else is_below & ~is_itself)


def roots(connection: Connection, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the topmost run above each run, or itself where it has no parent or is its own grandparent."""
    keys = {"keys": key_list(run_ids)}
    path = select(_RUN.run_id.label("start"), _RUN.run_id, _RUN.parent_run_id).where(_RUN.run_id.in_(texts_in()))
    climbed = path.cte("climbed", recursive=True)
    parent = tables.runs.alias("parent").c
    above = select(climbed.c.start, parent.run_id, parent.parent_run_id).where(parent.run_id == climbed.c.parent_run_id)
    climbed = climbed.union(above)  # not UNION ALL, so that a circle ends
    known = tables.runs.alias("known").c
    is_top = ~exists(literal(1)).where(known.run_id == climbed.c.parent_run_id)
    rows = connection.execute(select(climbed.c.start, climbed.c.run_id).where(is_top), keys)
    found = {row.start: row.run_id for row in rows}
    return {run_id: found.get(run_id, run_id) for run_id in run_ids}
