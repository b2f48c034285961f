"""Reading the tables of text values by name (`tables._named_values`), for many owners at a time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Table, select

# SQLite before 3.32 takes at most 999 variables in a statement.
KEYS_PER_STATEMENT = 900


def in_chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split keys into as many as one IN list may hold."""
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        yield keys[start : start + KEYS_PER_STATEMENT]


def values_by_owner(connection: Connection, table: Table, owners: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return `{owner: {name: value}}`; an owner without values has an empty dict."""
    owner = table.primary_key.columns[0]
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for chunk in in_chunks(owners):
        for key, name, value in connection.execute(
            select(owner, table.c.name, table.c.value).where(owner.in_(chunk))
        ):
            found[key][name] = value
    return found
