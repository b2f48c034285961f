"""What SQLite and PostgreSQL write differently: column types, and constructs of SQLAlchemy Core.

Every other statement is plain Core. Where a check and a write must not be parted by another writer, the statement locks
a row with FOR UPDATE (`locked`), which SQLite leaves out: there the whole transaction is the only writer.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    column,
    literal_column,
    select,
)
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite.dml import OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

S = TypeVar("S", bound=Select[Any])


class ConstraintViolated(Exception):
    """A row that the schema forbids, such as one whose key is taken. In PostgreSQL the transaction is over then, or the
    part of it that has a savepoint of its own (`Database.write` inside another)."""


ID = BigInteger().with_variant(Integer, "sqlite")
"""A key that the database gives out: SQLite's 64-bit rowid only answers to the type name INTEGER."""
BYTE_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared by its bytes, which ranges of paths and names rely on."""


def insert_new(table: Table) -> Insert:
    """An INSERT that leaves rows whose key is taken as they are; `rowcount` tells how many were new."""
    return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def insert_or_set(
    table: Table,
    names: Collection[str],
    rows: Sequence[dict[str, Any]] | dict[str, Any] | None = None,
    *,
    also: Callable[[Any], dict[str, ColumnElement[Any]]] | None = None,
    only_if: Callable[[Any], ColumnElement[bool]] | None = None,
) -> Insert:
    """An INSERT that sets these columns of rows whose primary key is taken, and those that `also` makes of the new row,
    where `only_if` says so of it."""
    new = insert(table) if rows is None else insert(table).values(rows)
    return new.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: new.excluded[name] for name in names} | (also(new.excluded) if also is not None else {}),
        where=None if only_if is None else only_if(new.excluded),
    )


def locked(statement: S) -> S:
    """A SELECT whose rows no other transaction changes, locks or deletes before the end of this one."""
    return statement.with_for_update(key_share=True)


class Pattern(TypeDecorator[str]):
    """What LIKE is given. A backslash means itself, as in MLflow's filters; to PostgreSQL's LIKE it is an escape."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Called by SQLAlchemy."""
        return value.replace("\\", "\\\\") if value and dialect.name == "postgresql" else value


class DescNullsLast(FunctionElement[Any]):
    """For ORDER BY: descending, NULL last. To SQLite NULL is less than anything, and it reads an index in order only
    where that isn't said again; before 3.30 it can't be said either."""

    inherit_cache = True


def keys_in(name: str = "keys") -> Select[Any]:
    """A subquery of integer keys given as one value of that name (see `key_list`): a list of any length."""
    return select(cast(_elements(name), BigInteger))


def texts_in(name: str = "keys") -> Select[Any]:
    """As `keys_in`, of keys that are texts."""
    return select(cast(_elements(name), Text))


def pairs_in(name: str = "keys") -> Select[Any]:
    """As `keys_in`, of keys that are two integers."""
    pair = _elements(name)
    items: list[ColumnElement[Any]] = [cast(_Item(pair, place), BigInteger) for place in (0, 1)]
    return select(*items)


def key_list(keys: Sequence[object]) -> str:
    """The value for `keys_in`, `texts_in` or `pairs_in`."""
    return json.dumps(keys)


def _elements(name: str) -> ColumnElement[Any]:
    elements: Any = _Elements(bindparam(name, type_=Text)).table_valued(column("value", Text))
    value: ColumnElement[Any] = elements.c.value
    return value


class _Elements(FunctionElement[Any]):
    """The elements of a JSON array, one a row, in the column `value`."""

    inherit_cache = True


class _Item(FunctionElement[Any]):
    """The element of a JSON array at a place that is known when the statement is made."""

    inherit_cache = True

    def __init__(self, array: ColumnElement[Any], place: int) -> None:
        super().__init__(array, literal_column(str(place)))


@compiles(_Elements, "sqlite")
def _sqlite_elements(element: _Elements, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Elements, "postgresql")
def _postgresql_elements(element: _Elements, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"


@compiles(_Item, "sqlite")
def _sqlite_item(element: _Item, compiler: Any, **options: Any) -> str:
    array, place = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({array}, '$[{place}]')"


@compiles(_Item, "postgresql")
def _postgresql_item(element: _Item, compiler: Any, **options: Any) -> str:
    array, place = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({array} AS JSON) ->> {place})"


@compiles(DescNullsLast, "sqlite")
def _sqlite_desc(element: DescNullsLast, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)} DESC"


@compiles(DescNullsLast, "postgresql")
def _postgresql_desc(element: DescNullsLast, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)} DESC NULLS LAST"


@compiles(OnConflictDoNothing, "postgresql")
@compiles(OnConflictDoUpdate, "postgresql")
def _postgresql_on_conflict(element: Any, compiler: Any, **options: Any) -> str:
    """SQLAlchemy's own `insert` for PostgreSQL, which SQLite would take too, takes 0.2 s to import."""
    element.constraint_target = None  # the one attribute that PostgreSQL's clause has beyond SQLite's
    visit = getattr(compiler, f"visit_{element.__visit_name__}")
    return str(visit(element, **options))
