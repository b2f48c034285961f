"""`/compute`: what runs are submitted to, and what is queued and running there."""

import os
from collections import Counter
from collections.abc import Sequence

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.status import WAITING
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import LOCAL_TARGET, QueueEntry, RunStatus
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.page import Pages

PAGES = Pages()
_ROWS = 200
_OF_SUBMITTER = "Slots of the machine that submits"
_KINDS = {"AmlCompute": _OF_SUBMITTER, "Agents": "Pool of agents", "Ray": "Ray"}
_ADDRESSES = ("ray://", "http://", "https://")


class ComputeQuery(msgspec.Struct, frozen=True):
    """Which runs: those of one target, or of all; `page` counts from 1."""

    target: str = ""
    page: int = 1

    def __post_init__(self) -> None:
        if self.page < 1:
            raise InvalidValue("page", self.page, "must be 1 or more")


class Target(msgspec.Struct, frozen=True):
    """A compute target. So many of its runs hold a slot (`used`) or wait for one.

    `slots` and `free` are None where an address, or a target that was deleted, says nothing of them.
    """

    name: str
    kind: str
    slots: int | None
    used: int
    free: int | None
    waiting: int


class QueueRow(msgspec.Struct, frozen=True):
    """A run that hasn't ended. `target` is None for one that wasn't submitted.

    `position` counts from 1 those that wait for a slot of the target; `since_ms` is when a run started, of one that
    waits when it was submitted.
    """

    run_id: str
    name: str
    experiment_id: str
    experiment: str
    parent_run_id: str | None
    parent: str
    target: str | None
    status: RunStatus
    look: str
    position: int | None
    since_ms: int
    who: str


class ComputePage(msgspec.Struct, frozen=True):
    """The compute targets, and what goes on: of each target what runs, and then what waits in its order.

    `running` and `waiting` count the runs on all pages.
    """

    query: ComputeQuery
    targets: list[Target]
    running: int
    waiting: int
    rows: list[QueueRow]
    next_page: int | None


@PAGES.page("/compute", "compute.html", keeps=True)
def compute(call: Call, query: ComputeQuery) -> ComputePage:
    """Show the compute targets, and what is queued and running."""
    records = call.records
    queue = records.runs.queue()
    of_query = [entry for entry in queue if query.target in ("", entry.target)]
    begin = _ROWS * (query.page - 1)
    waiting = sum(entry.info.status in WAITING for entry in of_query)
    return ComputePage(
        query=query,
        targets=_targets(records, queue),
        running=len(of_query) - waiting,
        waiting=waiting,
        rows=_rows(records, of_query[begin : begin + _ROWS]),
        next_page=query.page + 1 if len(of_query) > begin + _ROWS else None,
    )


def _targets(records: RecordStore, queue: Sequence[QueueEntry]) -> list[Target]:
    """`local`, which is always there, the workspace's own, and those that runs were submitted to by their address."""
    submitted = [entry for entry in queue if entry.target is not None]
    waiting = Counter(entry.target for entry in submitted if entry.info.status in WAITING)
    used = Counter(entry.target for entry in submitted if entry.info.status not in WAITING)
    known: dict[str, tuple[str, int | None]] = {LOCAL_TARGET: (_OF_SUBMITTER, os.cpu_count() or 1)}
    for target in records.compute_targets.list():
        known[target.name] = (_KINDS.get(target.kind, target.kind), target.slots)
    for entry in submitted:
        assert entry.target is not None
        is_address = entry.target.startswith(_ADDRESSES)
        known.setdefault(entry.target, ("Ray address" if is_address else "Deleted", None))
    return [
        Target(
            name=name,
            kind=kind,
            slots=slots,
            used=used[name],
            free=None if slots is None else max(0, slots - used[name]),
            waiting=waiting[name],
        )
        for name, (kind, slots) in known.items()
    ]


def _rows(records: RecordStore, entries: Sequence[QueueEntry]) -> list[QueueRow]:
    parents = records.runs.names_of([entry.info.parent_run_id for entry in entries if entry.info.parent_run_id])
    return [
        QueueRow(
            run_id=entry.info.run_id,
            name=entry.info.name,
            experiment_id=entry.info.experiment_id,
            experiment=entry.experiment,
            parent_run_id=entry.info.parent_run_id,
            parent=parents.get(entry.info.parent_run_id or "", ""),
            target=entry.target,
            status=entry.info.status,
            look=words.look_of(entry.info.status),
            position=entry.position,
            since_ms=entry.since_ms,
            who=entry.info.user_id,
        )
        for entry in entries
    ]
