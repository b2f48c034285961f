"""Searching runs (MLflow's `SearchUtils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, Text, case, cast, exists, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.grammars import RUN_ORDER
from mlflow_amlstore.records.search.ordering import Ordering, parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.sql import compare, in_experiments, in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins
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
    filter: Filter,
    order_by: Sequence[str],
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `tables.RUN_FACTS`, by default the latest started first; all if `max_results` is None.

    Raises FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = None if max_results is None else check_max_results(max_results, MAX_RUNS)
    orderings = parse_order_by(order_by, RUN_ORDER)
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = [
        _uses_dataset(comparison) if comparison.entity is Entity.DATASET else named.condition(comparison)
        for comparison in filter.comparisons
    ]
    terms = _sort_terms(orderings, named)
    statement = (
        select(*tables.RUN_FACTS)
        .select_from(named.add_to(tables.runs))
        .where(in_experiments(_RUN.experiment_id, experiment_keys), *in_view(tables.runs, view), *conditions)
    )
    query = ("runs", sorted(experiment_keys), view.value, filter.text, list(order_by))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


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


def _sort_terms(orderings: Sequence[Ordering], named: ValueJoins) -> list[SortTerm]:
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
