"""Statements written in SQLAlchemy Core, compiled once, and run by the driver.

What Core adds to each execution (some 40 µs, and 1 µs a row) is more than SQLite takes for the statement itself; a
training loop pays it at every call. The statement stays Core's, so another database gets its SQL from the same source.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from sqlite3 import Cursor
from typing import Any

from sqlalchemy import Dialect, Select, bindparam
from sqlalchemy.sql.expression import ClauseElement

from mlflow_amlstore.records.sqlite import SqliteDriver

Driver = SqliteDriver
"""Any driver's connection would do that has `dialect`, and `execute` and `executemany` as SQLite's."""


class DriverStatement:
    """One statement, compiled once; values are given in the order of `names`, which must be the order in its SQL."""

    def __init__(self, statement: ClauseElement, *names: str) -> None:
        self._statement, self._names = statement, names
        self._sql: dict[Dialect, str] = {}
        self.width = len(names)

    def _compile(self, dialect: Dialect) -> str:
        """Compile it, at first use.

        Without a lock, which `functools.cached_property` has before Python 3.12: one for all statements, and a signal's
        handler would wait for ever for a thread that compiles another.
        """
        compiled = self._statement.compile(dialect=dialect)
        order = tuple(getattr(compiled, "positiontup", None) or ())
        if order != self._names:
            raise ValueError(f"the statement takes its values as {order}, not as {self._names}")
        return self._sql.setdefault(dialect, str(compiled))

    def run(self, driver: Driver, *values: Any) -> Cursor:
        """Execute with one set of values."""
        dialect = driver.dialect
        return driver.execute(self._sql.get(dialect) or self._compile(dialect), values)

    def run_many(self, driver: Driver, rows: Iterable[Sequence[Any]]) -> Cursor:
        """Execute once for each row of values."""
        return driver.executemany(self._sql.get(driver.dialect) or self._compile(driver.dialect), rows)


class BulkStatement:
    """An INSERT of many rows, a hundred to a statement: a third of the time of as many statements of one row."""

    _SIZES = (100, 10, 1)

    def __init__(self, make: Callable[[int], tuple[ClauseElement, Sequence[str]]]) -> None:
        """`make(n)` gives the statement for n rows and the names of its values in order."""
        self._make = make
        self._by_size: dict[int, DriverStatement] = {}

    def run(self, driver: Driver, rows: Iterable[Sequence[Any]], firsts: Sequence[Any] | None = None) -> int:
        """Insert the rows, in their order, and return how many were inserted or set; `firsts`, if given, are what each
        has in its first column instead."""
        values = list(chain.from_iterable(rows))
        if firsts is not None:
            values[:: len(values) // len(firsts)] = firsts
        start = count = 0
        for size in self._SIZES:
            statement = self._of_size(size)
            while len(values) - start >= statement.width:
                count += statement.run(driver, *values[start : start + statement.width]).rowcount
                start += statement.width
        return count

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


def run_query(driver: Driver, statement: Select[Any]) -> Cursor:
    """Run a Core query that is made anew each time; its rows are plain tuples."""
    compiled = statement.compile(dialect=driver.dialect, compile_kwargs={"render_postcompile": True})
    order = getattr(compiled, "positiontup", None) or ()
    params = compiled.params
    return driver.execute(str(compiled), [params[name] for name in order])
