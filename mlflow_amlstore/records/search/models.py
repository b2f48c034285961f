"""Searching registered models and their versions (MLflow's `SearchModelUtils` and `SearchModelVersionUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, exists, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.grammars import MODEL_ORDER, VERSION_ORDER
from mlflow_amlstore.records.search.ordering import parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.prompts import PROMPT_TAG, asks_for_prompts, is_on_prompt_tag
from mlflow_amlstore.records.search.sql import in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import check_max_results

MAX_MODELS = 1000  # `mlflow.store.model_registry.SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD`
MAX_VERSIONS = 200_000  # `mlflow.store.model_registry.SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD`

_MODEL = tables.registered_models.c
_VERSION = tables.model_versions.c
_MODEL_COLUMNS: dict[str, ColumnElement[Any]] = {"name": _MODEL.name, "updated": _MODEL.updated_ms}
_VERSION_COLUMNS: dict[str, ColumnElement[Any]] = {
    "name": _MODEL.name,
    "version_number": _VERSION.version,
    "run_id": _VERSION.run_id,
    "source_path": _VERSION.source,
    "creation_timestamp": _VERSION.created_ms,
    "last_updated_timestamp": _VERSION.updated_ms,
}


def page_of_models(
    connection: Connection,
    *,
    filter: Filter,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
    with_prompts: bool = False,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.registered_models` rows by name; prompts only where the filter asks for them,
    or `with_prompts`.

    Raises FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_MODELS)
    orderings = parse_order_by(order_by, MODEL_ORDER)
    terms = [SortTerm(_MODEL_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    if all(ordering.name != "name" for ordering in orderings):
        terms.append(SortTerm(_MODEL.name))
    named = ValueJoins(tables.registered_models, _MODEL_COLUMNS, {Entity.TAG: tables.registered_model_tags})
    conditions = _conditions(filter.comparisons, named, tables.registered_model_tags, with_prompts)
    statement = select(*_MODEL).select_from(named.add_to(tables.registered_models)).where(*conditions)
    query = ("models", filter.text, list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def page_of_versions(
    connection: Connection,
    *,
    filter: Filter,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
    with_prompts: bool = False,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.model_versions` rows with `model_name`, by default the latest updated first.

    Deleted versions are left out, and prompts' where neither the filter nor `with_prompts` asks for them. Raises
    FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_VERSIONS)
    named = ValueJoins(tables.model_versions, _VERSION_COLUMNS, {Entity.TAG: tables.model_version_tags})
    conditions = _conditions(filter.comparisons, named, tables.model_version_tags, with_prompts)
    versions = tables.model_versions.join(tables.registered_models, _MODEL.registered_pk == _VERSION.registered_pk)
    statement = (
        select(*_VERSION, _MODEL.name.label("model_name"))
        .select_from(named.add_to(versions))
        .where(*in_view(tables.model_versions, View.ACTIVE), *conditions)
    )
    terms = _version_sort_terms(order_by)
    query = ("versions", filter.text, list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def _version_sort_terms(order_by: Sequence[str]) -> list[SortTerm]:
    orderings = parse_order_by(order_by or ["last_updated_timestamp DESC"], VERSION_ORDER)
    terms = [SortTerm(_VERSION_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    names = {ordering.name for ordering in orderings}
    if "name" not in names:
        terms.append(SortTerm(_MODEL.name))
    if "version_number" not in names:
        terms.append(SortTerm(_VERSION.version, is_descending=True))
    return terms


def _conditions(
    comparisons: Sequence[Comparison], named: ValueJoins, tags: Table, with_prompts: bool
) -> list[ColumnElement[bool]]:
    """The filter as SQL; without prompts unless its first word on the prompt tag says that it is about them."""
    if with_prompts or asks_for_prompts(comparisons):
        return [named.condition(comparison) for comparison in comparisons]
    others = [comparison for comparison in comparisons if not is_on_prompt_tag(comparison)]
    return [~is_prompt(tags), *(named.condition(comparison) for comparison in others)]


def is_prompt(tags: Table) -> ColumnElement[bool]:
    """Whether the model, or any version of the version's model, is tagged as a prompt."""
    tag = tags.alias("prompt_tag").c
    owner = _MODEL.registered_pk if tags is tables.registered_model_tags else _VERSION.registered_pk
    return exists(literal(1)).where(tag.registered_pk == owner, tag.name == PROMPT_TAG, tag.value == "true")
