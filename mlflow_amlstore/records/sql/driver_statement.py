"""Statements written in SQLAlchemy Core, compiled once, and run by the driver.

What Core adds to each execution (some 40 µs) is more than SQLite takes for the statement itself, and a training loop
pays it at every call. The statement stays Core's, so that another database gets its own SQL from the same source.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="qmark")


class DriverStatement:
    """One compiled statement; values are given in the order of `names`, which must be the order in its SQL."""

    def __init__(self, statement: ClauseElement, *names: str) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        order = tuple(getattr(compiled, "positiontup", None) or ())
        if order != names:
            raise ValueError(f"the statement takes its values as {order}, not as {names}")
        self.sql = str(compiled)

    def run(self, driver: sqlite3.Connection, *values: Any) -> sqlite3.Cursor:
        """Execute with one set of values."""
        return driver.execute(self.sql, values)

    def run_many(self, driver: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        """Execute once for each row of values."""
        return driver.executemany(self.sql, rows)
