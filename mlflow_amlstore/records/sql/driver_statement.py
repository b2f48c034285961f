"""Statements written in SQLAlchemy Core, compiled once, and run by the driver.

What Core adds to each execution (some 40 µs, and 1 µs a row) is more than SQLite takes for the statement itself; a
training loop pays it at every call. The statement stays Core's, so another database gets its SQL from the same source.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Select, Text, bindparam, column, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="qmark")


class DriverStatement:
    """One compiled statement; values are given in the order of `names`, which must be the order in its SQL."""

    def __init__(self, statement: ClauseElement, *names: str) -> None:
        self._statement, self._names = statement, names
        self._sql: str | None = None
        self.width = len(names)

    @property
    def sql(self) -> str:
        """The statement's text, compiled at first use.

        Without a lock, which `functools.cached_property` has before Python 3.12: one for all statements, and a signal's
        handler would wait for ever for a thread that compiles another.
        """
        if self._sql is None:
            self._sql = self._compiled()
        return self._sql

    def _compiled(self) -> str:
        compiled = self._statement.compile(dialect=_DIALECT)
        order = tuple(getattr(compiled, "positiontup", None) or ())
        if order != self._names:
            raise ValueError(f"the statement takes its values as {order}, not as {self._names}")
        return str(compiled)

    def run(self, driver: sqlite3.Connection, *values: Any) -> sqlite3.Cursor:
        """Execute with one set of values."""
        return driver.execute(self.sql, values)

    def run_many(self, driver: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        """Execute once for each row of values."""
        return driver.executemany(self.sql, rows)


class BulkStatement:
    """An INSERT of many rows, a hundred to a statement: a third of the time of as many statements of one row."""

    _SIZES = (100, 10, 1)

    def __init__(self, make: Callable[[int], tuple[ClauseElement, Sequence[str]]]) -> None:
        """`make(n)` gives the statement for n rows and the names of its values in order."""
        self._make = make
        self._by_size: dict[int, DriverStatement] = {}

    def run(self, driver: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Insert the rows, in their order."""
        values = list(chain.from_iterable(rows))
        start = 0
        for size in self._SIZES:
            statement = self._of_size(size)
            while len(values) - start >= statement.width:
                statement.run(driver, *values[start : start + statement.width])
                start += statement.width

    def _of_size(self, size: int) -> DriverStatement:
        known = self._by_size.get(size)
        if known is None:
            statement, names = self._make(size)
            known = self._by_size[size] = DriverStatement(statement, *names)
        return known


def numbered(columns: Sequence[str], count: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Bound values for `count` rows of a `BulkStatement`, and their names in order."""
    names = [[f"{name}_{row}" for name in columns] for row in range(count)]
    values: list[dict[str, Any]] = [dict(zip(columns, map(bindparam, row), strict=True)) for row in names]
    return values, [name for row in names for name in row]


def keys_in() -> Select[tuple[int]]:
    """A subquery of the integer keys given as one value named `keys` (see `key_list`): a list of any length."""
    return select(func.json_each(bindparam("keys", type_=Text)).table_valued(column("value")).c.value)


def key_list(keys: Sequence[int]) -> str:
    """The value for `keys_in`."""
    return json.dumps(keys)


def run_query(driver: sqlite3.Connection, statement: Select[Any]) -> sqlite3.Cursor:
    """Run a Core query that is made anew each time; its rows are plain tuples."""
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    order = getattr(compiled, "positiontup", None) or ()
    params = compiled.params
    return driver.execute(str(compiled), [params[name] for name in order])
