"""Searching experiments (MLflow's `SearchExperimentsUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import Entity, Filter
from mlflow_amlstore.records.search.grammars import EXPERIMENT_ORDER
from mlflow_amlstore.records.search.ordering import parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.sql import in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import check_max_results

MAX_EXPERIMENTS = 50_000  # `mlflow.store.tracking.SEARCH_MAX_RESULTS_THRESHOLD`

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
    filter: Filter,
    order_by: Sequence[str],
    max_results: int,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.experiments` rows, by default the newest first.

    Raises FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = check_max_results(max_results, MAX_EXPERIMENTS)
    terms = _sort_terms(order_by)
    named = ValueJoins(tables.experiments, _COLUMNS, {Entity.TAG: tables.experiment_tags})
    conditions = [named.condition(comparison) for comparison in filter.comparisons]
    statement = (
        select(*_EXPERIMENT)
        .select_from(named.add_to(tables.experiments))
        .where(*in_view(tables.experiments, view), *conditions)
    )
    query = ("experiments", view.value, filter.text, list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def _sort_terms(order_by: Sequence[str]) -> list[SortTerm]:
    clauses = order_by or ("creation_time DESC", "experiment_id ASC")
    orderings = parse_order_by(clauses, EXPERIMENT_ORDER, allow_duplicates=True)  # as MLflow does, here only
    terms = [SortTerm(_COLUMNS[ordering.name], ordering.is_descending) for ordering in orderings]
    if all(ordering.name != "experiment_id" for ordering in orderings):
        terms.append(SortTerm(_EXPERIMENT.experiment_id, is_descending=True))
    return terms
