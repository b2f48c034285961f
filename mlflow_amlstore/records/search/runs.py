"""Searching runs (MLflow's `SearchUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, Text, case, cast, exists, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.grammar import Entity
from mlflow_amlstore.records.search.named_values import NamedValues
from mlflow_amlstore.records.search.ordering import Ordering, parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.parser import Comparison, parse_filter
from mlflow_amlstore.records.search.run_grammar import GRAMMAR, ORDER_VOCABULARY
from mlflow_amlstore.records.search.sql import compare, in_experiments, in_view
from mlflow_amlstore.records.status import MLFLOW_STATUS
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import MAX_RUNS, check_max_results

DATASET_CONTEXT_TAG = "mlflow.data.context"

_NAMED: dict[Entity, Table] = {
    Entity.METRIC: tables.series,
    Entity.PARAM: tables.run_params,
    Entity.TAG: tables.run_tags,
}
_RUN = tables.runs.c
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "run_id": _RUN.run_id,
    "run_name": _RUN.name,
    "user_id": _RUN.user_id,
    "status": case({status.value: word for status, word in MLFLOW_STATUS.items()}, value=_RUN.status, else_=""),
    "start_time": _RUN.start_ms,
    "end_time": _RUN.end_ms,
    # The run's container (`records.locations`): the adapter has taken the workspace's root off the value.
    "artifact_uri": cast(_RUN.experiment_id, Text).concat("/").concat(_RUN.run_id).concat("/artifacts"),
}
_NULLABLE = {"start_time", "end_time"}


def page_of_runs(
    connection: Connection,
    experiment_keys: Sequence[int],
    *,
    view: View,
    filter: str | None,
    order_by: Sequence[str],
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `tables.RUN_FACTS`, by default the latest started first; all if `max_results` is None.

    Raises FilterInvalid, InvalidValue, PageTokenInvalid.
    """
    limit = None if max_results is None else check_max_results(max_results, MAX_RUNS)
    comparisons = parse_filter(filter, GRAMMAR)
    orderings = parse_order_by(order_by, ORDER_VOCABULARY)
    named = NamedValues(tables.runs, _NAMED)
    conditions = [_condition(comparison, named) for comparison in comparisons]
    terms = _sort_terms(orderings, named)
    statement = (
        select(*tables.RUN_FACTS)
        .select_from(named.add_to(tables.runs))
        .where(in_experiments(_RUN.experiment_id, experiment_keys), *in_view(tables.runs, view), *conditions)
    )
    query = ("runs", sorted(experiment_keys), view.value, filter or "", list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def _condition(comparison: Comparison, named: NamedValues) -> ColumnElement[bool]:
    if comparison.entity is Entity.ATTRIBUTE:
        return compare(_COLUMNS[comparison.name], comparison.comparator, comparison.value)
    if comparison.entity is Entity.DATASET:
        return _uses_dataset(comparison)
    return named.condition(comparison)


def _uses_dataset(comparison: Comparison) -> ColumnElement[bool]:
    """Whether one of the run's datasets satisfies the comparison."""
    use, dataset, tag = tables.run_datasets.c, tables.datasets.c, tables.run_dataset_tags.c
    if comparison.name == "context":
        return exists(literal(1)).where(
            tag.run_pk == _RUN.run_pk,
            tag.name == DATASET_CONTEXT_TAG,
            compare(tag.value, comparison.comparator, comparison.value),
        )
    return exists(literal(1)).where(
        use.run_pk == _RUN.run_pk,
        dataset.dataset_id == use.dataset_id,
        compare(dataset[comparison.name], comparison.comparator, comparison.value),
    )


def _sort_terms(orderings: Sequence[Ordering], named: NamedValues) -> list[SortTerm]:
    terms: list[SortTerm] = []
    for ordering in orderings:
        if ordering.entity is Entity.ATTRIBUTE:
            column = _COLUMNS[ordering.name]
            terms.append(SortTerm(column, ordering.is_descending, ordering.name in _NULLABLE))
        else:
            terms += named.sort_terms(ordering)
    names = {ordering.name for ordering in orderings if ordering.entity is Entity.ATTRIBUTE}
    if "start_time" not in names:
        terms.append(SortTerm(_RUN.start_ms, is_descending=True, is_nullable=True))
    if "run_id" not in names:
        terms.append(SortTerm(_RUN.run_id))
    return terms
