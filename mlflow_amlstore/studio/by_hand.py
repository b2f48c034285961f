"""What people did by hand to a run, an experiment or a model, as its page shows it."""

import msgspec

from mlflow_amlstore.records.store import RecordStore

_MOST = 20


class Act(msgspec.Struct, frozen=True):
    """What somebody did by hand."""

    at_ms: int
    act: str
    who: str
    detail: str


def acts_on(records: RecordStore, subject_kind: str, subject_id: str) -> list[Act]:
    """The latest acts on a subject, the newest first."""
    found = records.acts.of(subject_kind, subject_id)
    return [Act(act.at_ms, act.act, act.who, act.detail) for act in found[:_MOST]]
