"""The tables of text values by name (`tables._named_values`): conditions on them, and reading them for many owners."""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import ColumnElement, Table, exists, literal, select

from mlflow_amlstore.records.dialects import keys_in
from mlflow_amlstore.records.sql.driver_statement import Driver, DriverStatement


class NamedValues:
    """Params, tags or properties of many owners."""

    def __init__(self, table: Table) -> None:
        owner = table.primary_key.columns[0]
        self._select = DriverStatement(select(owner, table.c.name, table.c.value).where(owner.in_(keys_in())), "keys")

    def of_owners(self, driver: Driver, keys: str) -> dict[int, dict[str, str]]:
        """Return `{owner: {name: value}}`, with an empty dict for an owner without values.

        `keys` is a `driver_statement.key_list`.
        """
        found: dict[int, dict[str, str]] = defaultdict(dict)
        for key, name, value in self._select.run(driver, keys):
            found[key][name] = value
        return found


def have_values(table: Table, owner: Table, wanted: Mapping[str, str | None]) -> list[ColumnElement[bool]]:
    """The conditions that an owner has each of these values by name, where None stands for any value."""
    keys = [key.name for key in table.primary_key if key.name != "name"]
    conditions: list[ColumnElement[bool]] = []
    for name, value in wanted.items():
        of_owner = [*(table.c[key] == owner.c[key] for key in keys), table.c.name == name]
        if value is not None:
            of_owner.append(table.c.value == value)
        conditions.append(exists(literal(1)).where(*of_owner))
    return conditions
