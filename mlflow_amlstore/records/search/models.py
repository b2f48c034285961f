"""Searching registered models and their versions (MLflow's `SearchModelUtils` and `SearchModelVersionUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, exists, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.grammar import (
    NUMBER_RULE,
    TEXT_OR_LIST_RULE,
    TEXT_RULE,
    Entity,
    Grammar,
    Rule,
    Vocabulary,
    read_version,
    same,
)
from mlflow_amlstore.records.search.named_values import NamedValues
from mlflow_amlstore.records.search.ordering import parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.parser import Comparison, parse_filter
from mlflow_amlstore.records.search.sql import compare, in_view
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import check_max_results

MAX_MODELS = 1000  # `mlflow.store.model_registry.SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD`
MAX_VERSIONS = 200_000  # `mlflow.store.model_registry.SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD`
PROMPT_TAG = "mlflow.prompt.is_prompt"

_WORDS = {"attribute": Entity.ATTRIBUTE, "tag": Entity.TAG, "tags": Entity.TAG}
_MODEL = tables.registered_models.c
_VERSION = tables.model_versions.c

_MODEL_GRAMMAR = Grammar(
    Vocabulary(_WORDS, {Entity.ATTRIBUTE: same("name")}),
    {Entity.TAG: TEXT_RULE, Entity.ATTRIBUTE: TEXT_OR_LIST_RULE},
)
_MODEL_ORDER_VOCABULARY = Vocabulary(
    {},
    {Entity.ATTRIBUTE: {"name": "name", **dict.fromkeys(("timestamp", "last_updated_timestamp"), "updated")}},
)
_MODEL_COLUMNS: dict[str, ColumnElement[Any]] = {"name": _MODEL.name, "updated": _MODEL.updated_ms}

_VERSION_GRAMMAR = Grammar(
    Vocabulary(_WORDS, {Entity.ATTRIBUTE: same("name", "version_number", "run_id", "source_path")}),
    {Entity.TAG: TEXT_RULE, Entity.ATTRIBUTE: TEXT_OR_LIST_RULE},
    {"version_number": Rule(NUMBER_RULE.comparators, read_version), "source_path": TEXT_RULE},
)
_VERSION_ORDER_VOCABULARY = Vocabulary(
    {"attribute": Entity.ATTRIBUTE},
    {Entity.ATTRIBUTE: same("name", "version_number", "creation_timestamp", "last_updated_timestamp")},
)
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
    filter: str | None,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.registered_models` rows by name; prompts only where the filter asks for them.

    Raises FilterInvalid, InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_MODELS)
    comparisons = parse_filter(filter, _MODEL_GRAMMAR)
    orderings = parse_order_by(order_by, _MODEL_ORDER_VOCABULARY)
    terms = [SortTerm(_MODEL_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    if all(ordering.name != "name" for ordering in orderings):
        terms.append(SortTerm(_MODEL.name))
    named = NamedValues(tables.registered_models, {Entity.TAG: tables.registered_model_tags})
    conditions = _conditions(comparisons, named, _MODEL_COLUMNS, tables.registered_model_tags)
    statement = select(*_MODEL).select_from(named.add_to(tables.registered_models)).where(*conditions)
    query = ("models", filter or "", list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def page_of_versions(
    connection: Connection,
    *,
    filter: str | None,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.model_versions` rows with `model_name`, by default the latest updated first.

    Deleted versions are left out, and prompts' where the filter doesn't ask for them. Raises FilterInvalid,
    InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_VERSIONS)
    comparisons = parse_filter(filter, _VERSION_GRAMMAR)
    named = NamedValues(tables.model_versions, {Entity.TAG: tables.model_version_tags})
    conditions = _conditions(comparisons, named, _VERSION_COLUMNS, tables.model_version_tags)
    versions = tables.model_versions.join(tables.registered_models, _MODEL.registered_pk == _VERSION.registered_pk)
    statement = (
        select(*_VERSION, _MODEL.name.label("model_name"))
        .select_from(named.add_to(versions))
        .where(*in_view(tables.model_versions, View.ACTIVE), *conditions)
    )
    terms = _version_sort_terms(order_by)
    query = ("versions", filter or "", list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def _version_sort_terms(order_by: Sequence[str]) -> list[SortTerm]:
    orderings = parse_order_by(order_by or ["last_updated_timestamp DESC"], _VERSION_ORDER_VOCABULARY)
    terms = [SortTerm(_VERSION_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    names = {ordering.name for ordering in orderings}
    if "name" not in names:
        terms.append(SortTerm(_MODEL.name))
    if "version_number" not in names:
        terms.append(SortTerm(_VERSION.version, is_descending=True))
    return terms


def _conditions(
    comparisons: Sequence[Comparison], named: NamedValues, columns: dict[str, ColumnElement[Any]], tags: Table
) -> list[ColumnElement[bool]]:
    """The filter as SQL; without prompts unless its first word on the prompt tag says that it is about them."""
    asks_for_prompts = _asks_for_prompts(comparisons)
    conditions = []
    if not asks_for_prompts:
        comparisons = [comparison for comparison in comparisons if not _is_on_prompt_tag(comparison)]
        conditions.append(~is_prompt(tags))
    for comparison in comparisons:
        if comparison.entity is Entity.ATTRIBUTE:
            conditions.append(compare(columns[comparison.name], comparison.comparator, comparison.value))
        else:
            conditions.append(named.condition(comparison))
    return conditions


def is_prompt(tags: Table) -> ColumnElement[bool]:
    """Whether the model, or any version of the version's model, is tagged as a prompt."""
    tag = tags.alias("prompt_tag").c
    owner = _MODEL.registered_pk if tags is tables.registered_model_tags else _VERSION.registered_pk
    return exists(literal(1)).where(tag.registered_pk == owner, tag.name == PROMPT_TAG, tag.value == "true")


def _is_on_prompt_tag(comparison: Comparison) -> bool:
    return comparison.entity is Entity.TAG and comparison.name == PROMPT_TAG


def _asks_for_prompts(comparisons: Sequence[Comparison]) -> bool:
    first = next((comparison for comparison in comparisons if _is_on_prompt_tag(comparison)), None)
    return first is not None and (first.comparator, str(first.value).lower()) in (("=", "true"), ("!=", "false"))
