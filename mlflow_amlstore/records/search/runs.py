"""Searching runs (MLflow's `SearchUtils`)."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, Text, case, cast, exists, func, literal, select

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.grammars import RUN_ORDER
from mlflow_amlstore.records.search.ordering import Ordering, parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.sql import compare, in_experiments, in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins
from mlflow_amlstore.records.status import MLFLOW_STATUS
from mlflow_amlstore.records.types import RunGroup, View
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
# True of every run. It has SQLite read all runs as they and their values lie, which takes a quarter of the time that an
# index takes which has them in another order.
_AS_THEY_LIE = _RUN.run_pk > 0


def page_of_runs(
    connection: Connection,
    experiment_keys: Sequence[int] | None,
    *,
    view: View,
    filter: Filter,
    order_by: Sequence[str | Ordering],
    only_top: bool = False,
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `tables.RUN_FACTS`, by default the latest started first; all if `max_results` is None.

    Without `experiment_keys` of the whole workspace; `only_top` leaves out the children of active runs.

    Raises FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = None if max_results is None else check_max_results(max_results, MAX_RUNS)
    orderings = parse_order_by(order_by, RUN_ORDER)
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, only_top)
    terms = _sort_terms(orderings, named)
    if experiment_keys is None and not filter.comparisons and orderings and orderings[0].name != "start_time":
        conditions.append(_AS_THEY_LIE)
    statement = select(*tables.RUN_FACTS).select_from(named.add_to(tables.runs)).where(*conditions)
    scope = None if experiment_keys is None else sorted(experiment_keys)
    query = ("runs", scope, view.value, filter.text, [*map(str, order_by)], *(["only top"] if only_top else []))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def count_of_runs(
    connection: Connection, experiment_keys: Sequence[int] | None, *, view: View, filter: Filter, only_top: bool
) -> int:
    """Return how many runs all pages of `page_of_runs` have. Raises InvalidValue."""
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, only_top)
    statement = select(func.count()).select_from(named.add_to(tables.runs)).where(*conditions)
    return int(connection.execute(statement).scalar_one())


def groups_of_runs(
    connection: Connection,
    experiment_keys: Sequence[int] | None,
    *,
    view: View,
    filter: Filter,
    param: str,
    metrics: Sequence[Ordering],
    max_results: int,
) -> list[RunGroup]:
    """Return the runs that a search finds, grouped by the value of a param, the largest group first.

    Raises InvalidValue.
    A metric is named as an ordering names it; NaN and ±Inf count for nothing.
    """
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, False)
    value = named.join(Entity.PARAM, param).c.value
    numbers = [named.finite_number(metric) for metric in metrics]
    found = named.add_to(tables.runs)
    over_all = select(func.count(), *map(func.avg, numbers)).select_from(found).where(*conditions)
    middles = [mean or 0.0 for mean in connection.execute(over_all).one()[1:]]
    columns: list[ColumnElement[Any]] = []
    for number, middle in zip(numbers, middles, strict=True):
        # From the middle of all: of large numbers that differ little, the squares would have no differing digit left.
        off = number - literal(middle)
        columns += [func.count(number), func.avg(off), func.avg(off * off)]
    statement = (
        select(value.label("value"), func.count().label("runs"), *columns)
        .select_from(found)
        .where(*conditions)
        .group_by(value)
        .order_by(func.count().desc(), value)
        .limit(max_results)
    )
    groups = []
    for group, size, *figures in connection.execute(statement):
        of_metrics = zip(middles, figures[::3], figures[1::3], figures[2::3], strict=True)
        groups.append(RunGroup(group, size, [_of_metric(*each) for each in of_metrics]))
    return groups


def _of_metric(
    middle: float, count: int, off: float | None, squares: float | None
) -> tuple[int, float | None, float | None]:
    """Count, mean and standard deviation of a sample, of the means of its distances from `middle` and their squares."""
    if off is None or squares is None:
        return count, None, None
    deviation = 0.0 if count < 2 else sqrt(max(squares - off * off, 0.0) * count / (count - 1))
    return count, middle + off, deviation


def _conditions(
    named: ValueJoins, filter: Filter, experiment_keys: Sequence[int] | None, view: View, only_top: bool
) -> list[ColumnElement[bool]]:
    conditions = [
        _uses_dataset(comparison) if comparison.entity is Entity.DATASET else named.condition(comparison)
        for comparison in filter.comparisons
    ]
    if experiment_keys is not None:
        conditions.append(in_experiments(_RUN.experiment_id, experiment_keys))
    if only_top:
        above = tables.runs.alias("above").c
        is_under = exists(literal(1)).where(
            above.run_id == _RUN.parent_run_id, above.deleted_ms.is_(None), above.run_pk != _RUN.run_pk
        )
        conditions.append(_RUN.parent_run_id.is_(None) | ~is_under)
    return [*conditions, *in_view(tables.runs, view)]


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
