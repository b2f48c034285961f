"""Reading the tables of text values by name (`tables._named_values`), for many owners at a time."""

import sqlite3
from collections import defaultdict

from sqlalchemy import Table, select

from mlflow_amlstore.records.sql.driver_statement import DriverStatement, keys_in


class NamedValues:
    """Params, tags or properties of many owners."""

    def __init__(self, table: Table) -> None:
        owner = table.primary_key.columns[0]
        self._select = DriverStatement(select(owner, table.c.name, table.c.value).where(owner.in_(keys_in())), "keys")

    def of_owners(self, driver: sqlite3.Connection, keys: str) -> dict[int, dict[str, str]]:
        """Return `{owner: {name: value}}`, with an empty dict for an owner without values.

        `keys` is a `driver_statement.key_list`.
        """
        found: dict[int, dict[str, str]] = defaultdict(dict)
        for key, name, value in self._select.run(driver, keys):
            found[key][name] = value
        return found
