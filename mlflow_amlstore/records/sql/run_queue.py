"""What goes on in a workspace: the runs that wait and those that run."""

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from mlflow_amlstore.records.sql.run_records import run_info
from mlflow_amlstore.records.status import ENDED, WAITING
from mlflow_amlstore.records.tables import RUN_FACTS, experiments, run_definitions, runs
from mlflow_amlstore.records.types import QueueEntry, RunStatus

# By experiment, each of which has an index by status: a workspace may have a great many runs that have ended.
_SELECT_GOING_ON: Select[Any] = (
    select(
        *RUN_FACTS,
        experiments.c.artifact_location,
        experiments.c.name.label("experiment"),
        run_definitions.c.definition,
    )
    .select_from(
        experiments.join(runs, runs.c.experiment_id == experiments.c.experiment_id).outerjoin(
            run_definitions, run_definitions.c.run_pk == runs.c.run_pk
        )
    )
    .where(
        runs.c.experiment_id.in_(select(experiments.c.experiment_id)),
        runs.c.status.in_([status.value for status in RunStatus if status not in ENDED]),
        runs.c.deleted_ms.is_(None),
    )
)


def queue_of(connection: Connection) -> list[QueueEntry]:
    """Return the active runs that haven't ended: of each target what runs, the oldest first, and then what waits.

    Those that weren't submitted come last.
    """
    of_target: defaultdict[str | None, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_SELECT_GOING_ON.order_by(runs.c.run_pk)):
        of_target[_target(row.definition)].append(row)
    entries = []
    for target in sorted(of_target, key=lambda name: (name is None, name or "")):
        position = 0
        waiting = []
        for row in of_target[target]:
            info = run_info(row[: len(RUN_FACTS)], row.artifact_location)
            if target is not None and info.status in WAITING:
                position += 1
                waiting.append(QueueEntry(info, row.experiment, target, position))
            else:
                entries.append(QueueEntry(info, row.experiment, target, None))
        entries += waiting
    return entries


def _target(definition: str | None) -> str | None:
    return None if definition is None else str(json.loads(definition).get("target") or "local")
