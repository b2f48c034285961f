"""Searching logged models (MLflow's `search_logged_model_utils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, Text, and_, cast, exists, literal, or_, select

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.grammars import LOGGED_MODEL_ATTRIBUTES
from mlflow_amlstore.records.search.lexer import check_characters
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.sql import in_experiments, in_view
from mlflow_amlstore.records.search.value_joins import ValueJoins, compare_number, number_or_null, number_sort_terms
from mlflow_amlstore.records.types import OrderTerm, View
from mlflow_amlstore.records.validation import check_max_results

DEFAULT_MAX_LOGGED_MODELS = 100  # `mlflow.store.tracking.SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT`

_MODEL = tables.logged_models.c
_COLUMNS: dict[str, ColumnElement[Any]] = {
    "model_id": _MODEL.model_id,
    "experiment_id": cast(_MODEL.experiment_id, Text),
    "name": _MODEL.name,
    "model_type": _MODEL.model_type,
    "status": _MODEL.status,
    "status_message": _MODEL.status_message,
    "source_run_id": _MODEL.source_run_id,
    # The model's container (`records.locations`): the adapter has taken the workspace's root off the value.
    "artifact_location": cast(_MODEL.experiment_id, Text)
    .concat("/models/")
    .concat(_MODEL.model_id)
    .concat("/artifacts"),
    "lifecycle_stage": literal("active"),  # a search leaves the deleted out
    "created": _MODEL.created_ms,
    "updated": _MODEL.updated_ms,
}
_NULLABLE = {"model_type", "status_message", "source_run_id"}

Datasets = Sequence[tuple[str, str | None]]

_NAMED: dict[Entity, Table] = {Entity.PARAM: tables.logged_model_params, Entity.TAG: tables.logged_model_tags}


def page_of_logged_models(
    connection: Connection,
    experiment_keys: Sequence[int],
    *,
    filter: Filter,
    datasets: Datasets,
    order_by: Sequence[OrderTerm],
    max_results: int | None,
    page_token: str | None,
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of `tables.logged_models` rows, by default the newest first; None and 0 mean 100 rows.

    `datasets`, pairs of a name and perhaps a digest, narrow the filter's metrics to points about one of them; where
    the filter has none, a model must have a point of any metric about one. Raises FilterInvalid, InvalidValue,
    PageTokenInvalid.
    """
    limit = check_max_results(max_results or DEFAULT_MAX_LOGGED_MODELS)
    if not all(name for name, _ in datasets):
        raise InvalidValue("datasets", list(datasets), "each must have a dataset_name")
    for name, digest in datasets:
        check_characters(name + (digest or ""))
    named = ValueJoins(tables.logged_models, _COLUMNS, _NAMED)
    conditions = [_condition(comparison, named, datasets) for comparison in filter.comparisons]
    if datasets and all(comparison.entity is not Entity.METRIC for comparison in filter.comparisons):
        conditions.append(_has_metric(datasets))
    statement = (
        select(*_MODEL)
        .select_from(named.add_to(tables.logged_models))
        .where(
            in_experiments(_MODEL.experiment_id, experiment_keys),
            *in_view(tables.logged_models, View.ACTIVE),
            *conditions,
        )
    )
    orderings = [(term.name, term.is_ascending, term.dataset_name, term.dataset_digest) for term in order_by]
    query = ("logged models", sorted(experiment_keys), filter.text, list(datasets), orderings)
    return fetch_page(
        connection, statement, _sort_terms(order_by), max_results=limit, page_token=page_token, query=query
    )


def _condition(comparison: Comparison, named: ValueJoins, datasets: Datasets) -> ColumnElement[bool]:
    if comparison.entity is Entity.METRIC:
        point = tables.logged_model_metrics.c
        return _has_metric(
            datasets, point.name == comparison.name, compare_number(point.value, point.value_type, comparison)
        )
    return named.condition(comparison)


def _has_metric(datasets: Datasets, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether any metric point of the model satisfies the conditions and is about one of the datasets, if any."""
    point = tables.logged_model_metrics.c
    about = [_is_about(point, name, digest) for name, digest in datasets]
    scope = [or_(*about)] if about else []
    return exists(literal(1)).where(point.model_pk == _MODEL.model_pk, *conditions, *scope)


def _is_about(point: Any, name: str | None, digest: str | None) -> ColumnElement[bool]:
    conditions = []
    if name:
        conditions.append(point.dataset_name == name)
    if digest:
        conditions.append(point.dataset_digest == digest)
    return and_(True, *conditions)


def _sort_terms(order_by: Sequence[OrderTerm]) -> list[SortTerm]:
    terms: list[SortTerm] = []
    names = set()
    for term in order_by:
        for text in (term.name, term.dataset_name, term.dataset_digest):
            check_characters(text or "")
        if term.name.startswith("metrics."):
            terms += _metric_sort_terms(term)
        elif "." in term.name:
            raise FilterInvalid(term.name, 0, term.name, "logged models are ordered by attributes and metrics only")
        elif term.name not in LOGGED_MODEL_ATTRIBUTES:
            known = ", ".join(sorted(LOGGED_MODEL_ATTRIBUTES))
            raise FilterInvalid(term.name, 0, term.name, f"no such attribute; there is {known}")
        else:
            name = LOGGED_MODEL_ATTRIBUTES[term.name]
            if name not in names:
                terms.append(SortTerm(_COLUMNS[name], not term.is_ascending, name in _NULLABLE))
            names.add(name)
    if "created" not in names:
        terms.append(SortTerm(_MODEL.created_ms, is_descending=True))
    if "model_id" not in names:
        terms.append(SortTerm(_MODEL.model_id))
    return terms


def _metric_sort_terms(term: OrderTerm) -> list[SortTerm]:
    """Order by the latest point of a metric: numbers, then NaN, then models without one."""
    point = tables.logged_model_metrics.alias("latest").c
    ties = (point.dataset_name, point.dataset_digest, point.value, point.value_type)
    latest = (
        select(point.value_type)
        .where(
            point.model_pk == _MODEL.model_pk,
            point.name == term.name.partition(".")[2],
            _is_about(point, term.dataset_name, term.dataset_digest),
        )
        .order_by(point.timestamp_ms.desc(), point.step.desc(), point.run_id, *ties)
        .limit(1)
        .correlate(tables.logged_models)
    )
    number = latest.with_only_columns(number_or_null(point.value, point.value_type)).scalar_subquery()
    return number_sort_terms(number, latest.scalar_subquery(), not term.is_ascending)
