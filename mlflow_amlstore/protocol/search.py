"""What Azure ML's search of runs can do of MLflow's.

From its published table (https://learn.microsoft.com/azure/machine-learning/how-to-track-experiments-mlflow): it orders
by a run's own times alone; it filters by metrics, params and tags, but not with LIKE or ILIKE, nor by `!=` on tags, nor
by a name in quotes, and by no attribute other than the run's id.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.search.ordering import parse_order_by

_ORDERABLE = ("start_time", "end_time")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_TAKES = {
    Entity.METRIC: ("=", "!=", "<", "<=", ">", ">="),
    Entity.PARAM: ("=", "!="),
    Entity.TAG: ("=",),
    Entity.ATTRIBUTE: ("=", "IN"),
}


class AzureSearch(NamedTuple):
    """A search of runs as Azure ML can do it: `filter` holds for every run wanted, and for more where `left_out` says
    what it can't do. `is_by_values`: it is, in part, by params or tags, of which a run's record may not have all."""

    filter: str
    order_by: list[str]
    left_out: list[str]
    is_by_values: bool


def as_azure_can(filter: Filter, order_by: Sequence[str] | None, *, has_all_values: bool = True) -> AzureSearch:
    """Take out of a search what Azure ML can't do; where records don't have all values, it can't search by those.

    Raises FilterInvalid for an ordering that MLflow can't do either.
    """
    kept: list[str] = []
    left_out: list[str] = []
    is_by_values = False
    for comparison in filter.comparisons:
        problem = _problem(comparison)
        if comparison.entity in (Entity.PARAM, Entity.TAG) and not problem:
            is_by_values = True
            if not has_all_values:
                problem = f"{comparison.entity.value}s, of which some are in the files of runs"
        if problem:
            left_out.append(problem)
        else:
            kept.append(_written(comparison))
    for ordering in parse_order_by(list(order_by or ()), grammars.RUN_ORDER):
        if ordering.entity is not Entity.ATTRIBUTE or ordering.name not in _ORDERABLE:
            left_out.append(f"ordering by {ordering.entity.value} {ordering.name!r}")
    return AzureSearch(" and ".join(kept), [] if left_out else list(order_by or ()), left_out, is_by_values)


def refusal(filter: str | None, order_by: Sequence[str] | None) -> str | None:
    """What Azure ML can't do of a search of runs, in words, or None: then it can do all, as it is written.

    Raises FilterInvalid for what MLflow can't do either.
    """
    read = grammars.RUNS.parse(filter)
    left_out = as_azure_can(read, order_by).left_out
    if not left_out and any(comparison.is_quoted for comparison in read.comparisons):
        return "a name in quotes"
    return left_out[0] if left_out else None


def can_search_models(filter: str | None) -> bool:
    """Whether Azure ML can search registered models so: by their name alone, once, and not by `!=`.

    Raises FilterInvalid for what MLflow can't do either.
    """
    comparisons = grammars.MODELS.parse(filter).comparisons
    return len(comparisons) < 2 and all(
        comparison.entity is Entity.ATTRIBUTE and comparison.comparator != "!=" for comparison in comparisons
    )


def _problem(comparison: Comparison) -> str | None:
    subject = f"{comparison.entity.value} {comparison.name!r}"
    if comparison.entity not in _TAKES or not _PLAIN_NAME.fullmatch(comparison.name):
        return f"filtering by {subject}"
    if comparison.entity is Entity.ATTRIBUTE and comparison.name != "run_id":
        return f"filtering by {subject}"
    return None if comparison.comparator in _TAKES[comparison.entity] else f"{comparison.comparator} on {subject}"


def _written(comparison: Comparison) -> str:
    value = comparison.value
    if isinstance(value, tuple):
        text = f"({', '.join(_quoted(str(item)) for item in value)})"
    else:
        text = repr(value) if comparison.entity is Entity.METRIC else _quoted(str(value))
    return f"{comparison.entity.value}s.{comparison.name} {comparison.comparator} {text}"


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"
