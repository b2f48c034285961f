"""Searching experiments (MLflow's `SearchExperimentsUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.grammar import (
    EQUAL,
    IN,
    INTEGER_RULE,
    TEXT_OR_NULL_RULE,
    TEXT_RULE,
    Entity,
    Grammar,
    Rule,
    Vocabulary,
    read_id,
    same,
)
from mlflow_amlstore.records.search.named_values import NamedValues
from mlflow_amlstore.records.search.ordering import parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.parser import Comparison, parse_filter
from mlflow_amlstore.records.search.sql import compare, in_view
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import check_max_results

MAX_EXPERIMENTS = 50_000  # `mlflow.store.tracking.SEARCH_MAX_RESULTS_THRESHOLD`

_ATTRIBUTES = {Entity.ATTRIBUTE: same("name", "experiment_id", "creation_time", "last_update_time")}
_ORDER_VOCABULARY = Vocabulary({"attribute": Entity.ATTRIBUTE}, _ATTRIBUTES)
_GRAMMAR = Grammar(
    Vocabulary({"attribute": Entity.ATTRIBUTE, "tag": Entity.TAG, "tags": Entity.TAG}, _ATTRIBUTES),
    {Entity.TAG: TEXT_OR_NULL_RULE, Entity.ATTRIBUTE: TEXT_RULE},
    {
        "experiment_id": Rule((*EQUAL, *IN), read_id),
        "creation_time": INTEGER_RULE,
        "last_update_time": INTEGER_RULE,
    },
)
_EXPERIMENT = tables.experiments.c
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "name": _EXPERIMENT.name,
    "experiment_id": _EXPERIMENT.experiment_id,
    "creation_time": _EXPERIMENT.created_ms,
    "last_update_time": _EXPERIMENT.updated_ms,
}


def page_of_experiments(
    connection: Connection,
    *,
    view: View,
    filter: str | None,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.experiments` rows, by default the newest first.

    Raises FilterInvalid, InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_EXPERIMENTS)
    comparisons = parse_filter(filter, _GRAMMAR)
    terms = _sort_terms(order_by)
    named = NamedValues(tables.experiments, {Entity.TAG: tables.experiment_tags})
    conditions = [_condition(comparison, named) for comparison in comparisons]
    statement = (
        select(*_EXPERIMENT)
        .select_from(named.add_to(tables.experiments))
        .where(*in_view(tables.experiments, view), *conditions)
    )
    query = ("experiments", view.value, filter or "", list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def _condition(comparison: Comparison, named: NamedValues) -> ColumnElement[bool]:
    if comparison.entity is Entity.ATTRIBUTE:
        return compare(_COLUMNS[comparison.name], comparison.comparator, comparison.value)
    return named.condition(comparison)


def _sort_terms(order_by: Sequence[str]) -> list[SortTerm]:
    clauses = order_by or ("creation_time DESC", "experiment_id ASC")
    orderings = parse_order_by(clauses, _ORDER_VOCABULARY, allow_duplicates=True)  # as MLflow does, here only
    terms = [SortTerm(_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    if all(ordering.name != "experiment_id" for ordering in orderings):
        terms.append(SortTerm(_EXPERIMENT.experiment_id, is_descending=True))
    return terms
