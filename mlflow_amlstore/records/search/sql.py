"""Comparators and scopes as SQL."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, literal

from mlflow_amlstore.records.dialects import Pattern
from mlflow_amlstore.records.search.filter import Value
from mlflow_amlstore.records.types import View

_OPERATORS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "LIKE": lambda column, pattern: column.like(literal(pattern, Pattern)),
    "ILIKE": lambda column, pattern: column.ilike(literal(pattern, Pattern)),
    "IN": lambda column, values: column.in_(values),
    "NOT IN": lambda column, values: column.not_in(values),
}


def compare(column: ColumnElement[Any], comparator: str, value: Value) -> ColumnElement[bool]:
    """`column comparator value`; NULL satisfies no comparison."""
    return _OPERATORS[comparator](column, value)


def in_view(table: Table, view: View) -> list[ColumnElement[bool]]:
    """The condition, if any, that a row of a table with `deleted_ms` is in a view."""
    if view is View.ALL:
        return []
    deleted_ms = table.c.deleted_ms
    return [deleted_ms.is_(None) if view is View.ACTIVE else deleted_ms.is_not(None)]


def in_experiments(column: ColumnElement[int], experiment_keys: Sequence[int]) -> ColumnElement[bool]:
    """The condition that a row belongs to one of these experiments."""
    if len(experiment_keys) == 1:
        return column == experiment_keys[0]
    # In the text of the statement, for SQLite takes no more than 999 to 32 766 parameters.
    return column.in_(bindparam("experiment_keys", list(experiment_keys), expanding=True, literal_execute=True))
