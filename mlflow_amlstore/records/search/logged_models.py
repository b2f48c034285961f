"""Searching logged models (MLflow's `search_logged_model_utils`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, Text, and_, cast, exists, literal, or_, select

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.grammar import (
    IN,
    LIKE,
    NUMBER_RULE,
    Entity,
    Grammar,
    Rule,
    ValueRefused,
    Vocabulary,
    read_number,
    read_text,
    same,
)
from mlflow_amlstore.records.search.lexer import Kind, Token, check_characters
from mlflow_amlstore.records.search.named_values import NamedValues, compare_number, number_or_null, number_sort_terms
from mlflow_amlstore.records.search.paging import SortTerm, fetch_page
from mlflow_amlstore.records.search.parser import Comparison, parse_filter
from mlflow_amlstore.records.search.sql import compare, in_experiments, in_view
from mlflow_amlstore.records.types import OrderTerm, View
from mlflow_amlstore.records.validation import check_max_results

DEFAULT_MAX_LOGGED_MODELS = 100  # `mlflow.store.tracking.SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT`

_ATTRIBUTES = {
    **same("model_id", "experiment_id", "name", "model_type", "status", "status_message", "source_run_id"),
    **same("artifact_location", "lifecycle_stage"),
    **dict.fromkeys(("creation_timestamp_ms", "creation_timestamp", "creation_time"), "created"),
    **dict.fromkeys(("last_updated_timestamp_ms", "last_updated_timestamp"), "updated"),
}
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


def _read_loose_text(token: Token) -> str:
    """A value in quotes, or a bare number or word: MLflow takes `params.lr = 0.01` here."""
    if token.kind in (Kind.NUMBER, Kind.NAME):
        return token.text
    return read_text(token)


def _read_loose_number(token: Token) -> int | float:
    """A number, or `inf` and `nan`, which MLflow takes here."""
    if token.kind is Kind.NAME:
        try:
            return float(token.text)
        except ValueError:
            raise ValueRefused("the value must be a number, without quotes") from None
    return read_number(token)


_TEXT = Rule((*LIKE, *IN), _read_loose_text)
_NUMBER = Rule(NUMBER_RULE.comparators, _read_loose_number)
_GRAMMAR = Grammar(
    Vocabulary(
        {"attributes": Entity.ATTRIBUTE, "metrics": Entity.METRIC, "params": Entity.PARAM, "tags": Entity.TAG},
        {Entity.ATTRIBUTE: _ATTRIBUTES},
    ),
    {Entity.ATTRIBUTE: _TEXT, Entity.PARAM: _TEXT, Entity.TAG: _TEXT, Entity.METRIC: _NUMBER},
    {"created": _NUMBER, "updated": _NUMBER},
)
_NAMED: dict[Entity, Table] = {Entity.PARAM: tables.logged_model_params, Entity.TAG: tables.logged_model_tags}


def page_of_logged_models(
    connection: Connection,
    experiment_keys: Sequence[int],
    *,
    filter: str | None,
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
    comparisons = parse_filter(filter, _GRAMMAR)
    named = NamedValues(tables.logged_models, _NAMED)
    conditions = [_condition(comparison, named, datasets) for comparison in comparisons]
    if datasets and all(comparison.entity is not Entity.METRIC for comparison in comparisons):
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
    query = ("logged models", sorted(experiment_keys), filter or "", list(datasets), orderings)
    return fetch_page(
        connection, statement, _sort_terms(order_by), max_results=limit, page_token=page_token, query=query
    )


def _condition(comparison: Comparison, named: NamedValues, datasets: Datasets) -> ColumnElement[bool]:
    if comparison.entity is Entity.ATTRIBUTE:
        return compare(_COLUMNS[comparison.name], comparison.comparator, comparison.value)
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
        elif term.name not in _ATTRIBUTES:
            known = ", ".join(sorted(_ATTRIBUTES))
            raise FilterInvalid(term.name, 0, term.name, f"no such attribute; there is {known}")
        else:
            name = _ATTRIBUTES[term.name]
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
