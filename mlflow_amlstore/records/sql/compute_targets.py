"""Compute targets in SQL: implements `common_store.CommonComputeTargets`."""

import builtins
import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.dialects import insert_or_set
from mlflow_amlstore.records.tables import compute_targets
from mlflow_amlstore.records.types import LOCAL_TARGET, NO_SUCH_TARGET, ComputeTargetRecord
from mlflow_amlstore.records.validation import check_integer, encodable

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,63}")
_COLUMN = compute_targets.c


class SqlComputeTargets:
    """The compute targets of one workspace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, kind: str, slots: int, settings: Mapping[str, Any]) -> ComputeTargetRecord:
        if not _NAME.fullmatch(name):
            rule = "must be 2 to 64 letters, digits, '-' and '_', a letter first"
            raise InvalidValue("name of a compute target", name, rule)
        if name == LOCAL_TARGET:  # neither a pool nor other slots can have it
            rule = "is always there, and means the machine that submits; choose another name"
            raise InvalidValue("name of a compute target", name, rule)
        slots = check_integer("slots", slots, minimum=1)
        now, text = self._database.now_ms(), encodable(json.dumps(dict(settings)))
        values = {"name": name, "kind": kind, "slots": slots, "settings": text, "created_ms": now}
        with self._database.write() as connection:
            connection.execute(insert_or_set(compute_targets, ["kind", "slots", "settings"], values))
        return self.get(name)

    def get(self, name: str) -> ComputeTargetRecord:
        for found in self._select(name):
            return found
        raise NotFound("compute target", name, NO_SUCH_TARGET)

    def list(self) -> builtins.list[ComputeTargetRecord]:
        return self._select(None)

    def delete(self, name: str) -> None:
        with self._database.write() as connection:
            if not connection.execute(delete(compute_targets).where(_COLUMN.name == name)).rowcount:
                raise NotFound("compute target", name, "The workspace has no such target")

    def _select(self, name: str | None) -> builtins.list[ComputeTargetRecord]:
        statement = select(_COLUMN.name, _COLUMN.kind, _COLUMN.slots, _COLUMN.settings, _COLUMN.created_ms)
        if name is not None:
            statement = statement.where(_COLUMN.name == name)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(_COLUMN.name)).all()
        return [ComputeTargetRecord(*row[:3], json.loads(row.settings), row.created_ms) for row in rows]
