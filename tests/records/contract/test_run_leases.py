"""Leases: a run that waits is taken once, and what its holder doesn't renew is taken back."""

from concurrent.futures import ThreadPoolExecutor

from mlflow_amlstore.records.sql.run_leases import LEASE_S
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunStatus
from tests.records.contract.conftest import Clock


def waiting_run(records: RecordStore, target: str = "pool") -> str:
    run_id = records.runs.create("0", status=RunStatus.QUEUED).info.run_id
    records.run_leases.add(run_id, target, "key")
    return run_id


def status_of(records: RecordStore, run_id: str) -> RunStatus:
    return records.runs.get(run_id).info.status


def test_the_run_that_has_waited_longest_is_taken_first_and_once(records: RecordStore) -> None:
    first, second = waiting_run(records), waiting_run(records)
    taken = [records.run_leases.take("pool", "agent") for _ in range(3)]
    assert [lease and lease.run_id for lease in taken] == [first, second, None]


def test_a_run_is_taken_by_one_of_many(records: RecordStore) -> None:
    runs = [waiting_run(records) for _ in range(20)]
    with ThreadPoolExecutor(8) as agents:
        taken = list(agents.map(lambda number: records.run_leases.take("pool", f"agent {number}"), range(40)))
    assert sorted(lease.run_id for lease in taken if lease is not None) == sorted(runs)


def test_another_targets_run_is_left(records: RecordStore) -> None:
    waiting_run(records, "other")
    assert records.run_leases.take("pool", "agent") is None


def test_a_lease_that_is_renewed_stays(records: RecordStore, clock: Clock) -> None:
    run_id = waiting_run(records)
    records.run_leases.take("pool", "agent")
    for _ in range(5):
        clock.advance(round(LEASE_S * 900))
        assert records.run_leases.renew(run_id, has_started=True)
        records.run_leases.take_back()
    assert status_of(records, run_id) is RunStatus.QUEUED
    assert records.run_leases.runs() == {run_id}


def test_a_run_that_never_started_waits_again(records: RecordStore, clock: Clock) -> None:
    run_id = waiting_run(records)
    records.run_leases.take("pool", "agent")
    records.runs.advance(run_id, RunStatus.PREPARING)
    clock.advance(round(LEASE_S * 1001))
    records.run_leases.take_back()
    assert status_of(records, run_id) is RunStatus.QUEUED
    taken = records.run_leases.take("pool", "another")
    assert taken is not None
    assert (taken.run_id, taken.key_id) == (run_id, "key")


def test_a_run_that_has_started_is_failed_and_never_handed_on(records: RecordStore, clock: Clock) -> None:
    run_id = waiting_run(records)
    records.run_leases.take("pool", "agent")
    records.run_leases.renew(run_id, has_started=True)
    records.runs.advance(run_id, RunStatus.RUNNING)
    clock.advance(round(LEASE_S * 1001))
    records.run_leases.take_back()
    info = records.runs.get(run_id).info
    assert (info.status, info.error and info.error.code) == (RunStatus.FAILED, "LeaseLost")
    assert records.run_leases.take("pool", "another") is None
    assert not records.run_leases.renew(run_id, has_started=True)


def test_a_run_of_the_submitters_own_machine_is_never_handed_on(records: RecordStore, clock: Clock) -> None:
    run_id = records.runs.create("0", status=RunStatus.NOT_STARTED).info.run_id
    records.run_leases.add(run_id, "local", "key", holder="local")
    clock.advance(round(LEASE_S * 1001))
    records.run_leases.take_back()
    assert status_of(records, run_id) is RunStatus.FAILED


def test_a_run_that_is_canceled_while_it_waits_is_canceled_at_once(records: RecordStore) -> None:
    run_id = waiting_run(records)
    records.runs.advance(run_id, RunStatus.CANCEL_REQUESTED)
    assert records.run_leases.take("pool", "agent") is None
    records.run_leases.take_back()
    assert status_of(records, run_id) is RunStatus.CANCELED
    assert records.run_leases.runs() == frozenset()


def test_a_run_that_had_ended_stays_as_it_ended(records: RecordStore, clock: Clock) -> None:
    run_id = waiting_run(records)
    records.run_leases.take("pool", "agent")
    records.run_leases.renew(run_id, has_started=True)
    records.runs.update(run_id, status=RunStatus.COMPLETED, end_ms=clock.now_ms)
    clock.advance(round(LEASE_S * 1001))
    records.run_leases.take_back()
    assert status_of(records, run_id) is RunStatus.COMPLETED
    assert records.run_leases.runs() == frozenset()


def test_what_the_runner_has_done_with_has_no_lease(records: RecordStore) -> None:
    run_id = waiting_run(records)
    records.run_leases.take("pool", "agent")
    records.run_leases.end(run_id)
    assert not records.run_leases.renew(run_id, has_started=True)
