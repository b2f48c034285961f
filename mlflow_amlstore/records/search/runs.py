"""Searching runs (MLflow's `SearchUtils`)."""

from collections import defaultdict
from collections.abc import Sequence
from math import fsum, hypot, isfinite, nan, sqrt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Table,
    Text,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
)

from mlflow_amlstore.records import tables
from mlflow_amlstore.records.dialects import key_list, texts_in
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.grammars import RUN_ORDER
from mlflow_amlstore.records.search.ordering import Ordering, parse_order_by
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.sql import compare, in_experiments, in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins
from mlflow_amlstore.records.status import MLFLOW_STATUS
from mlflow_amlstore.records.types import RunGroup, RunNames, RunValues, View
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
    "duration": _RUN.end_ms - _RUN.start_ms,  # this one and the next aren't in MLflow's grammar
    "experiment_id": _RUN.experiment_id,
    # The run's container (`records.locations`): the adapter has taken the workspace's root off the value.
    "artifact_uri": cast(_RUN.experiment_id, Text).concat("/").concat(_RUN.run_id).concat("/artifacts"),
}
_NULLABLE = {"start_time", "end_time", "duration"}
_ENOUGH_FOR_A_MIDDLE = 100
_DIGITS_LOST = 1e-6  # what is left of squares then has ten digits yet
_LARGEST_SQUARED = 1e150  # and thousands of such squares can be added up
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
    counts: bool = False,
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of rows of `tables.RUN_FACTS`, by default the latest started first; all if `max_results` is None.

    Without `experiment_keys` of the whole workspace; `only_top` leaves out the children of active runs. With `counts` a
    row has `found`, too: how many runs the filter finds, on all pages.

    Raises FilterInvalid for an ordering, InvalidValue, PageTokenInvalid.
    """
    limit = None if max_results is None else check_max_results(max_results, MAX_RUNS)
    orderings = parse_order_by(order_by, RUN_ORDER)
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, only_top)
    if counts:  # the filter is tried once for both, the page and the count
        found = select(_RUN.run_pk).select_from(named.add_to(tables.runs)).where(*conditions).cte("found_runs")
        found = found.prefix_with("MATERIALIZED")
        named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
        terms = _sort_terms(orderings, named)
        total = select(func.count()).select_from(found).scalar_subquery()
        source = named.add_to(found.join(tables.runs, found.c.run_pk == _RUN.run_pk))
        statement = select(*tables.RUN_FACTS, total.label("found")).select_from(source)
    else:
        terms = _sort_terms(orderings, named)
        if experiment_keys is None and not filter.comparisons and orderings and orderings[0].name != "start_time":
            conditions.append(_AS_THEY_LIE)
        statement = select(*tables.RUN_FACTS).select_from(named.add_to(tables.runs)).where(*conditions)
    scope = None if experiment_keys is None else sorted(experiment_keys)
    query = ("runs", scope, view.value, filter.text, [*map(str, order_by)], *(["only top"] if only_top else []))
    return fetch_page(connection, statement, terms, max_results=limit, page_token=page_token, query=query)


def count_of_runs(connection: Connection, experiment_keys: Sequence[int] | None, *, view: View, filter: Filter) -> int:
    """Return how many runs all pages of `page_of_runs` have. Raises InvalidValue."""
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, False)
    statement = select(func.count()).select_from(named.add_to(tables.runs)).where(*conditions)
    return int(connection.execute(statement).scalar_one())


def count_of_children(
    connection: Connection, experiment_keys: Sequence[int] | None, *, view: View, filter: Filter
) -> int:
    """Return how many runs `page_of_runs` leaves out with `only_top`. Raises InvalidValue."""
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, None, view, False)
    if experiment_keys is not None:
        # Not by the index of experiments, in which SQLite would read all their runs: children are fewer.
        conditions.append(in_experiments(_RUN.experiment_id + literal_column("0"), experiment_keys))
    by_parent = (  # there are fewer parents to look up than children
        select(_RUN.parent_run_id, func.count().label("children"))
        .select_from(named.add_to(tables.runs))
        .where(*conditions, _RUN.parent_run_id.is_not(None), _RUN.parent_run_id != _RUN.run_id)
        .group_by(_RUN.parent_run_id)
        .subquery("by_parent")
    )
    above = tables.runs.alias("above")
    is_above = (above.c.run_id == by_parent.c.parent_run_id) & above.c.deleted_ms.is_(None)
    statement = select(func.sum(by_parent.c.children)).select_from(by_parent.join(above, is_above))
    return int(connection.execute(statement).scalar_one() or 0)


def names_of_runs(
    connection: Connection, experiment_keys: Sequence[int] | None, *, view: View, max_results: int
) -> RunNames:
    """Return what names runs have, the first of each kind."""
    conditions = in_view(tables.runs, view)
    if experiment_keys is not None:
        conditions.append(in_experiments(_RUN.experiment_id, experiment_keys))

    def first(column: ColumnElement[str], source: FromClause) -> list[str]:
        statement = select(column).distinct().select_from(source).where(*conditions, column != "")
        return list(connection.execute(statement.order_by(column).limit(max_results)).scalars())

    def of(table: Table) -> list[str]:
        return first(table.c.name, tables.runs.join(table, table.c.run_pk == _RUN.run_pk))

    people = first(_RUN.user_id, tables.runs)
    return RunNames(people, of(tables.series), of(tables.run_params), of(tables.run_tags))


def values_of_runs(
    connection: Connection,
    experiment_keys: Sequence[int] | None,
    *,
    view: View,
    filter: Filter,
    run_ids: Sequence[str] | None,
    wanted: Sequence[Ordering],
    max_results: int,
) -> list[RunValues]:
    """Return what `wanted` names of the runs that have all of it, the latest started first. Raises InvalidValue."""
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, False)
    if run_ids is not None:
        conditions.append(_RUN.run_id.in_(texts_in()))
    values = [_value(named, each) for each in wanted]
    statement = (
        select(_RUN.run_id, _RUN.name, *values)
        .select_from(named.add_to(tables.runs))
        .where(*conditions, *[value.is_not(None) for value in values])
        .order_by(_RUN.start_ms.desc(), _RUN.run_id)
        .limit(max_results)
    )
    rows = connection.execute(statement, {} if run_ids is None else {"keys": key_list(run_ids)})
    return [RunValues(run_id, name, found) for run_id, name, *found in rows]


def _value(named: ValueJoins, wanted: Ordering) -> ColumnElement[Any]:
    if wanted.entity is Entity.ATTRIBUTE:
        return _COLUMNS[wanted.name]
    return (
        named.finite_number(wanted)
        if wanted.entity is Entity.METRIC
        else named.join(wanted.entity, wanted.name).c.value
    )


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

    A metric is named as an ordering names it; NaN and ±Inf count for nothing. Raises InvalidValue.
    """
    named = ValueJoins(tables.runs, _COLUMNS, _NAMED)
    conditions = _conditions(named, filter, experiment_keys, view, False)
    value = named.join(Entity.PARAM, param).c.value
    numbers = [named.finite_number(metric).label(f"number_{place}") for place, metric in enumerate(metrics)]
    source = named.add_to(tables.runs)
    # Squares are taken of the distances from a number near all of them, so that they keep their digits.
    some = select(*numbers).select_from(source).where(*conditions).limit(_ENOUGH_FOR_A_MIDDLE).subquery("some")
    columns_of_some = [_summable(some.c[number.name]) for number in numbers]
    middles = [
        mean or 0.0 for mean in connection.execute(select(func.count(), *map(func.avg, columns_of_some))).one()[1:]
    ]
    found = select(value.label("value"), *numbers).select_from(source).where(*conditions).cte("found_runs")
    found = found.prefix_with("MATERIALIZED")  # each number is worked out once
    columns: list[ColumnElement[Any]] = []
    for number, middle in zip(numbers, middles, strict=True):
        one = found.c[number.name]
        summable = _summable(one)
        off = summable - literal(middle)
        averages = [func.avg(each) for each in (summable, off, off * off)]
        columns += [func.count(one), func.min(one), func.max(one), *averages]
    statement = (
        select(found.c.value, func.count().label("runs"), *columns)
        .group_by(found.c.value)
        .order_by(func.count().desc(), found.c.value)
        .limit(max_results)
    )
    groups = []
    for group, size, *figures in connection.execute(statement):
        of_metrics = zip(*[figures[place::6] for place in range(6)], strict=True)
        groups.append(RunGroup(group, size, [_of_metric(*each) for each in of_metrics]))
    unsure = [group for group in groups if any(deviation != deviation for _, _, deviation in group.metrics)]
    if unsure:
        is_of_them: ColumnElement[bool] = value.in_([group.value for group in unsure])
        if any(group.value is None for group in unsure):
            is_of_them = is_of_them | value.is_(None)
        again = select(value, *numbers).select_from(source).where(*conditions, is_of_them)
        rows: dict[str | None, list[Any]] = defaultdict(list)
        for each, *figures in connection.execute(again):
            rows[each].append(figures)
        for group in unsure:
            group.metrics[:] = [_of_numbers(column) for column in zip(*rows[group.value], strict=True)]
    return groups


def _summable(number: ColumnElement[float]) -> ColumnElement[float]:
    """The number, or NULL where its square is beyond what a number can be: PostgreSQL refuses to work that out."""
    return case((number.between(-_LARGEST_SQUARED, _LARGEST_SQUARED), number))


def _of_metric(
    count: int,
    lowest: float | None,
    highest: float | None,
    mean: float | None,
    off: float | None,
    squares: float | None,
) -> tuple[int, float | None, float | None]:
    """Count, mean and standard deviation of a sample, of its distances from some number: their mean, and that of their
    squares. The deviation is NaN where these are too large beside it to tell it."""
    if lowest is None or highest is None:
        return count, None, None
    if lowest == highest:
        return count, lowest, 0.0
    if mean is None or off is None or squares is None or max(-lowest, highest) > _LARGEST_SQUARED:
        return count, mean, nan
    variance = squares - off * off
    return count, mean, sqrt(variance * count / (count - 1)) if variance > _DIGITS_LOST * squares else nan


def _of_numbers(values: Sequence[float | None]) -> tuple[int, float | None, float | None]:
    """The same of the numbers themselves; no deviation where it is beyond what a number can be."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return 0, None, None
    if len(numbers) == 1:
        return 1, numbers[0], 0.0
    mean = fsum(number / len(numbers) for number in numbers)
    deviation = hypot(*[number - mean for number in numbers]) / sqrt(len(numbers) - 1)
    return len(numbers), mean, deviation if isfinite(deviation) else None


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
