"""What goes on in a workspace: the runs that wait and those that run."""

import json
from typing import Any

from sqlalchemy import Connection, Select, select

from mlflow_amlstore.records.run_queue import in_order
from mlflow_amlstore.records.sql.run_records import run_info
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.tables import RUN_FACTS, experiments, run_definitions, runs
from mlflow_amlstore.records.types import LOCAL_TARGET, QueueEntry, RunStatus

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
    """Return the active runs that haven't ended, in the order of `records.run_queue`."""
    return in_order(
        (run_info(row[: len(RUN_FACTS)], row.artifact_location), row.experiment, _target(row.definition))
        for row in connection.execute(_SELECT_GOING_ON.order_by(runs.c.run_pk))
    )


def _target(definition: str | None) -> str | None:
    return None if definition is None else str(json.loads(definition).get("target") or LOCAL_TARGET)
