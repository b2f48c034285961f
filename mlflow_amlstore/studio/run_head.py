"""What stands at the top of each of a run's pages."""

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY, MetricKind, RunRecord, RunStatus
from mlflow_amlstore.studio import words


class RunHead(msgspec.Struct, frozen=True):
    """A run's name, its state, and how much there is on its other pages."""

    run_id: str
    name: str
    experiment_id: str
    experiment: str
    parent_run_id: str | None
    parent: str
    status: RunStatus
    look: str
    started_ms: int | None
    ended_ms: int | None
    is_deleted: bool
    children: int
    images: int
    has_snapshot: bool


def run_head(records: RecordStore, run: RunRecord) -> RunHead:
    """The head of a run's pages."""
    info = run.info
    return RunHead(
        run_id=info.run_id,
        name=info.name,
        experiment_id=info.experiment_id,
        experiment=records.experiments.get(info.experiment_id).name,
        parent_run_id=info.parent_run_id,
        parent=_name_of(records, info.parent_run_id),
        status=info.status,
        look=words.look_of(info.status),
        started_ms=info.start_ms,
        ended_ms=info.end_ms,
        is_deleted=info.deleted_ms is not None,
        children=records.runs.count_children([info.run_id]).get(info.run_id, 0),
        images=records.metrics.count(info.run_id, MetricKind.IMAGE),
        has_snapshot=SNAPSHOT_PROPERTY in run.properties,
    )


def _name_of(records: RecordStore, run_id: str | None) -> str:
    if run_id is None:
        return ""
    return records.runs.names_of([run_id]).get(run_id, run_id)
