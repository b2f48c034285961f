"""Registered environments in SQL: implements `common_store.CommonEnvironments`."""

import builtins
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.database import Database, driver_connection
from mlflow_amlstore.records.sql.workspace_lock import lock_workspace
from mlflow_amlstore.records.tables import environments
from mlflow_amlstore.records.types import EnvironmentRecord
from mlflow_amlstore.records.validation import check_environment, encodable

_COLUMN = environments.c
_FACTS = (_COLUMN.name, _COLUMN.version, _COLUMN.definition)
_MOST_NAMED = 20  # in an error


class SqlEnvironments:
    """The registered environments of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, definition: Mapping[str, Any], version: str | None = None) -> EnvironmentRecord:
        check_environment(name, version)
        text = encodable(json.dumps({**definition, "name": name, "version": None}, sort_keys=True))
        with self._database.write() as connection:
            lock_workspace(driver_connection(connection))  # versions are given one after the other
            known = _versions(connection, name)
            for row in reversed(known):
                if row.definition == text:
                    return _record(row)
            ordinal = len(known)  # none is ever deleted
            taken = {row.version for row in known}
            if version is None or version in taken:  # as one that was read and changed has
                version = next(str(number) for number in count(ordinal + 1) if str(number) not in taken)
            now = self._database.now_ms()
            values = {"name": name, "version": version, "definition": text, "created_ms": now, "ordinal": ordinal + 1}
            connection.execute(insert(environments).values(values).inline())
        return self.get(name, version)

    def get(self, name: str, version: str | None = None) -> EnvironmentRecord:
        check_environment(name, version)
        with self._database.read() as connection:
            known = _versions(connection, name)
            if not known:
                raise NotFound("environment", name, _what_there_is("environments", self._names(connection)))
            for row in reversed(known):
                if version in (None, row.version):
                    return _record(row)
        raise NotFound("environment", f"{name}:{version}", _what_there_is("versions", [row.version for row in known]))

    def list(self) -> builtins.list[EnvironmentRecord]:
        newest = select(_COLUMN.name, func.max(_COLUMN.ordinal).label("ordinal")).group_by(_COLUMN.name).subquery()
        statement = select(*_FACTS).join(
            newest, (_COLUMN.name == newest.c.name) & (_COLUMN.ordinal == newest.c.ordinal)
        )
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(statement.order_by(_COLUMN.name))]

    def _names(self, connection: Connection) -> builtins.list[str]:
        statement = select(_COLUMN.name).distinct().order_by(_COLUMN.name).limit(_MOST_NAMED)
        return list(connection.execute(statement).scalars())


def _versions(connection: Connection, name: str) -> list[Row[Any]]:
    """The versions of a name, the oldest first."""
    return list(connection.execute(select(*_FACTS).where(_COLUMN.name == name).order_by(_COLUMN.ordinal)))


def _record(row: Any) -> EnvironmentRecord:
    definition = {**json.loads(row.definition), "version": row.version}
    return EnvironmentRecord(row.name, row.version, definition)


def _what_there_is(what: str, names: list[str]) -> str:
    if not names:
        return "The workspace has no registered environments; `Environment.register` makes one"
    return f"The workspace has these {what}: {', '.join(names[-_MOST_NAMED:])}"
