"""A search's conditions, and the joins with the tables that hold values by name: series, params and tags."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, and_, case, func

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records import tables
from mlflow_amlstore.records.search.extremes import extreme
from mlflow_amlstore.records.search.filter import Comparison, Entity
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.search.paging import SortTerm
from mlflow_amlstore.records.search.sql import compare

_MAX_JOINS = 60  # SQLite joins at most 64 tables
_MISSING = 2  # after NUMBER and NAN
_LARGEST = 1.7976931348623157e308


class ValueJoins:
    """The joins that a search needs: one for every name it filters or orders by, however often.

    `attributes` are what the owner has itself, `owned` the tables of what it has by name. An owner has a name at most
    once, so a join never multiplies rows.
    """

    def __init__(
        self, owner: Table, attributes: Mapping[str, ColumnElement[Any]], owned: Mapping[Entity, Table]
    ) -> None:
        self._owner = owner
        self._attributes = attributes
        self._owned = owned
        self._joined: dict[tuple[Entity, str], FromClause] = {}
        self._required: set[tuple[Entity, str]] = set()
        self._numbers: set[str] = set()

    def join(self, entity: Entity, name: str) -> FromClause:
        """The joined row of that name; all its columns are NULL for an owner that hasn't the name."""
        subject = (entity, name)
        if subject not in self._joined:
            if len(self._joined) == _MAX_JOINS:
                raise InvalidValue("filter", name, f"a search may name at most {_MAX_JOINS} metrics, params and tags")
            self._joined[subject] = _alias(self._owned[entity], f"{entity.value}_{len(self._joined)}")
        return self._joined[subject]

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        """Whether the owner's value of that name satisfies the comparison; without a value it doesn't."""
        if comparison.entity is Entity.ATTRIBUTE:
            return compare(self._attributes[comparison.name], comparison.comparator, comparison.value)
        row = self.join(comparison.entity, comparison.name)
        if comparison.comparator == "IS NULL":
            return row.c.name.is_(None)
        self._required.add((comparison.entity, comparison.name))
        if comparison.comparator == "IS NOT NULL":
            return row.c.name.is_not(None)
        if comparison.entity is Entity.METRIC:
            if comparison.comparator != "!=":
                self._numbers.add(comparison.name)
            return compare_number(row.c.last_value, row.c.last_value_type, comparison)
        return compare(row.c.value, comparison.comparator, comparison.value)

    def sort_terms(self, ordering: Ordering) -> list[SortTerm]:
        """Order by the values of a name, the owners without it last; a metric's numbers come before its NaNs.

        To be asked after the conditions, which may make it plain that there are no such owners or NaNs.
        """
        row = self.join(ordering.entity, ordering.name)
        is_descending = ordering.is_descending
        if ordering.entity is not Entity.METRIC:
            is_required = (ordering.entity, ordering.name) in self._required
            return [SortTerm(row.c.value, is_descending, is_nullable=not is_required)]
        if ordering.of is not Of.LAST:
            return [SortTerm(extreme(row, ordering.of), is_descending, is_nullable=True)]
        if ordering.name in self._numbers:
            return [SortTerm(row.c.last_value, is_descending)]
        number = number_or_null(row.c.last_value, row.c.last_value_type)
        return number_sort_terms(number, row.c.last_value_type, is_descending)

    def finite_number(self, ordering: Ordering) -> ColumnElement[float]:
        """The metric's value that an ordering names, NULL where it is NaN, ±Inf or none."""
        row = self.join(ordering.entity, ordering.name)
        if ordering.of is Of.LAST:
            number = number_or_null(row.c.last_value, row.c.last_value_type)
        else:
            number = extreme(row, ordering.of)
        return case((number.between(-_LARGEST, _LARGEST), number))

    def add_to(self, source: FromClause) -> FromClause:
        """`source` with the joins, first those that leave rows out, so that fewer reach the rest, and series last.

        A series costs two look-ups, one in the index and one for the row, where a param or tag costs one.
        """
        for entity, name in sorted(self._joined, key=self._cost):
            row = self._joined[entity, name]
            source = source.join(row, self._on(name, row), isouter=(entity, name) not in self._required)
        return source

    def _cost(self, subject: tuple[Entity, str]) -> tuple[bool, bool]:
        return subject not in self._required, subject[0] is Entity.METRIC

    def _on(self, name: str, row: FromClause) -> ColumnElement[bool]:
        owner_columns = [column.name for column in self._owner.primary_key]
        conditions = [row.c[column] == self._owner.c[column] for column in owner_columns]
        if "last_value_type" in row.c:
            conditions.append(row.c.last_value_type != tables.TEXT)  # to MLflow a metric is a number
        return and_(*conditions, row.c.name == name)


@lru_cache(maxsize=4 * _MAX_JOINS)
def _alias(table: Table, name: str) -> FromClause:
    """Kept, because making an alias's columns takes SQLAlchemy a good part of a search's time."""
    return table.alias(name)


def compare_number(
    value: ColumnElement[float], value_type: ColumnElement[int], comparison: Comparison
) -> ColumnElement[bool]:
    """Compare a number that may be NaN, which is unequal to everything and neither less nor greater."""
    condition = compare(value, comparison.comparator, comparison.value)
    if comparison.comparator == "!=":
        return condition | (value_type == tables.NAN)
    return condition & (value_type == tables.NUMBER)


def number_or_null(value: ColumnElement[float], value_type: ColumnElement[int]) -> ColumnElement[float]:
    """The value, or NULL where it is NaN or a text."""
    return case((value_type == tables.NUMBER, value))


def number_sort_terms(
    number: ColumnElement[float], value_type: ColumnElement[int], is_descending: bool
) -> list[SortTerm]:
    """Order by a `number_or_null`: numbers first, then NaN, then where there is none, in both directions."""
    return [SortTerm(func.coalesce(value_type, _MISSING)), SortTerm(number, is_descending)]
