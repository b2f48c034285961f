"""Leases: who looks after a run that was submitted over a service, and until when, in SQL.

A run waits without a holder. Whoever takes it renews its lease until it has ended. A lease that runs out is taken back:
if the run hasn't started, it waits again; if it has, it is never started a second time and is marked Failed.
"""

import json
from dataclasses import asdict

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update

from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.tables import run_leases, runs
from mlflow_amlstore.records.types import RunError, RunLease, RunStatus

LEASE_S = 25.0
"""How long a lease lasts from each renewal on."""
RENEWED_EVERY_S = 5.0
_LEASE = run_leases.c
_WAITS = (RunStatus.NOT_STARTED.value, RunStatus.QUEUED.value)
_CANCELED = RunStatus.CANCEL_REQUESTED.value
_ENDED = tuple(status.value for status in ENDED)
_LOST = RunError("LeaseLost", "Who ran the script wasn't heard of any more: its machine stopped, or lost the service")


class SqlRunLeases:
    """The leases of one workspace's runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, target: str, key_id: str, holder: str | None = None) -> None:
        """Have a run wait for an agent of its target; or with a holder, who alone may start it, begin its lease."""
        values = {
            "run_pk": select(runs.c.run_pk).where(runs.c.run_id == run_id).scalar_subquery(),
            "target": target,
            "key_id": key_id,
            "holder": holder,
            "ends_ms": None if holder is None else self._end_ms(),
            "has_started": holder is not None,
        }
        with self._database.write() as connection:
            connection.execute(run_leases.insert().values(values))

    def take(self, target: str, holder: str) -> RunLease | None:
        """Take the run that has waited longest for this target; None where none waits."""
        first = (
            select(func.min(_LEASE.run_pk))
            .join(runs, runs.c.run_pk == _LEASE.run_pk)
            .where(_LEASE.target == target, _LEASE.holder.is_(None), runs.c.status.in_(_WAITS))
            .where(runs.c.deleted_ms.is_(None))
        )
        with self._database.write() as connection:
            while (run_pk := connection.execute(first).scalar()) is not None:
                mine = update(run_leases).where(_LEASE.run_pk == run_pk, _LEASE.holder.is_(None))
                if connection.execute(mine.values(holder=holder, ends_ms=self._end_ms())).rowcount:
                    found = select(runs.c.run_id, _LEASE.key_id).join(runs, runs.c.run_pk == _LEASE.run_pk)
                    run_id, key_id = connection.execute(found.where(_LEASE.run_pk == run_pk)).one()
                    return RunLease(run_id, key_id)
        return None

    def renew(self, run_id: str, *, has_started: bool) -> bool:
        """Prolong a lease; False where there is none any more."""
        values: dict[str, object] = {"ends_ms": self._end_ms()}
        if has_started:
            values["has_started"] = True
        with self._database.write() as connection:
            renewed = (
                update(run_leases).where(_run_is(runs.c.run_id == run_id), _LEASE.holder.is_not(None)).values(values)
            )
            return bool(connection.execute(renewed).rowcount)

    def end(self, run_id: str) -> None:
        """End a lease: its run has ended, and nobody looks after it any more."""
        with self._database.write() as connection:
            connection.execute(delete(run_leases).where(_run_is(runs.c.run_id == run_id)))

    def runs(self) -> frozenset[str]:
        """The ids of the runs that have a lease, or wait for one."""
        with self._database.read() as connection:
            found = select(runs.c.run_id).join(run_leases, runs.c.run_pk == _LEASE.run_pk)
            return frozenset(connection.execute(found).scalars())

    def take_back(self) -> None:
        """Take back the leases that ran out, and end the waiting of runs that were canceled.

        A run that had started is marked Failed; one that hadn't waits again.
        """
        now_ms = self._database.now_ms()
        ran_out = _LEASE.holder.is_not(None) & (_LEASE.ends_ms < now_ms)
        is_due = or_(ran_out, _LEASE.holder.is_(None) & _run_is(runs.c.status.not_in(_WAITS)))
        with self._database.read() as connection:
            if not connection.execute(select(exists().where(is_due))).scalar():
                return
        failed = {"status": RunStatus.FAILED.value, "error": json.dumps(asdict(_LOST)), "end_ms": now_ms}
        canceled = {"status": RunStatus.CANCELED.value, "end_ms": now_ms}
        with self._database.write() as connection:
            lost = _leased(ran_out & _LEASE.has_started)
            never_started = _leased(is_due & ~_LEASE.has_started)
            connection.execute(update(runs).where(lost, runs.c.status.not_in(_ENDED)).values(failed))
            connection.execute(update(runs).where(never_started, runs.c.status == _CANCELED).values(canceled))
            connection.execute(delete(run_leases).where(is_due, _run_is(runs.c.status.in_(_ENDED))))
            connection.execute(update(runs).where(_leased(ran_out)).values(status=RunStatus.QUEUED.value))
            connection.execute(update(run_leases).where(ran_out).values(holder=None, ends_ms=None))

    def _end_ms(self) -> int:
        return self._database.now_ms() + round(LEASE_S * 1000)


def _run_is(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return _LEASE.run_pk.in_(select(runs.c.run_pk).where(condition))


def _leased(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return runs.c.run_pk.in_(select(_LEASE.run_pk).where(condition))
