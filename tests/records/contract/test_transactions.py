"""Several calls in one transaction, and writes that a client may send twice."""

import threading

import pytest

from mlflow_amlstore.errors import AlreadyExists, InvalidValue, NotFound, WorkspaceBusy
from mlflow_amlstore.records.store import RecordStore

DAY_MS = 24 * 3600 * 1000


def names(records: RecordStore) -> list[str]:
    return sorted(experiment.name for experiment in records.experiments.search().items)


def test_calls_of_a_transaction_are_seen_by_others_when_it_ends(records: RecordStore) -> None:
    seen: list[list[str]] = []
    with records.transaction():
        records.experiments.create("a")
        records.experiments.create("b")
        reader = threading.Thread(target=lambda: seen.append(names(records)))
        reader.start()
        reader.join()

    assert seen == [["Default"]]
    assert names(records) == ["Default", "a", "b"]


def test_a_call_that_fails_in_a_transaction_takes_no_other_with_it(records: RecordStore, run_id: str) -> None:
    with records.transaction():
        records.runs.log(run_id, params=[("lr", "0.1")])
        with pytest.raises(AlreadyExists):
            records.experiments.create("Default")
        with pytest.raises(NotFound):
            records.runs.log("no-such-run", params=[("lr", "0.2")])
        records.runs.log(run_id, params=[("depth", "3")])

    assert records.runs.get(run_id).params == {"lr": "0.1", "depth": "3"}


def test_a_transaction_that_fails_leaves_nothing(records: RecordStore) -> None:
    with pytest.raises(ZeroDivisionError), records.transaction():
        records.experiments.create("a")
        raise ZeroDivisionError

    assert names(records) == ["Default"]


def test_a_request_sent_again_is_applied_once_and_answered_the_same(records: RecordStore) -> None:
    def create() -> bytes:
        return records.experiments.create("a").encode()

    first = records.once("request-1", create)

    assert records.once("request-1", create) == first
    assert names(records) == ["Default", "a"]


def test_a_request_that_failed_is_not_remembered(records: RecordStore) -> None:
    def fail() -> bytes:
        records.experiments.create("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        records.once("request-1", fail)

    assert names(records) == ["Default"]
    assert records.once("request-1", lambda: b"now") == b"now"


def test_requests_are_forgotten_after_a_day(records: RecordStore, clock: "object") -> None:
    records.once("old", lambda: b"1")
    clock.advance(DAY_MS)  # type: ignore[attr-defined]
    records.once("at the limit", lambda: b"1")
    clock.advance(1)  # type: ignore[attr-defined]
    records.forget_old_requests()

    assert records.once("old", lambda: b"2") == b"2"
    assert records.once("at the limit", lambda: b"2") == b"1"


@pytest.mark.parametrize("request_id", ["", "x" * 65])
def test_a_request_id_that_is_none_is_refused(records: RecordStore, request_id: str) -> None:
    with pytest.raises(InvalidValue, match="must have 1 to 64 characters"):
        records.once(request_id, lambda: b"")


def test_a_transaction_that_need_not_wait_is_refused_at_once_while_another_thread_writes(
    sqlite_records: RecordStore,  # which has one writer at a time
) -> None:
    records = sqlite_records
    outcomes: list[Exception | str] = []

    def try_to_write() -> None:
        try:
            with records.transaction(wait=False):
                outcomes.append("written")
        except WorkspaceBusy as error:
            outcomes.append(error)

    with records.transaction():
        other = threading.Thread(target=try_to_write)
        other.start()
        other.join()
    try_to_write()

    assert isinstance(outcomes[0], WorkspaceBusy)
    assert outcomes[1] == "written"
