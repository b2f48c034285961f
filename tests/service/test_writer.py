"""What arrives together is committed together; each write is whole or absent all the same."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_amlstore.errors import DiskFull, NotFound
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.writer import GroupWriter
from mlflow_amlstore.workspace.opening import create_workspace


@pytest.fixture
def records(tmp_path: Path) -> RecordStore:
    return create_workspace(tmp_path / "workspace").records


def run(records: RecordStore, use: Callable[[GroupWriter], Awaitable[object]]) -> object:
    async def main() -> object:
        writer = GroupWriter(records)
        writer.start()
        try:
            return await use(writer)
        finally:
            await writer.stop()

    return asyncio.run(main())


def log_param(records: RecordStore, run_id: str, name: str) -> Callable[[], bytes]:
    def apply() -> bytes:
        records.runs.log(run_id, params=[(name, "1")])
        return name.encode()

    return apply


def test_each_write_is_answered_with_what_it_returned(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    async def use(writer: GroupWriter) -> list[bytes]:
        return await asyncio.gather(*[writer.write(log_param(records, run_id, f"p{number}")) for number in range(200)])

    assert run(records, use) == [f"p{number}".encode() for number in range(200)]
    assert len(records.runs.get(run_id).params) == 200


def test_a_write_that_fails_leaves_nothing_and_its_neighbours_are_kept(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    def half() -> bytes:
        records.runs.log(run_id, params=[("half", "1")])
        records.runs.log("no-such-run", params=[("other", "1")])
        return b"never"

    async def use(writer: GroupWriter) -> list[object]:
        writes = [log_param(records, run_id, "a"), half, log_param(records, run_id, "b")]
        return await asyncio.gather(*map(writer.write, writes), return_exceptions=True)

    first, failed, last = run(records, use)  # type: ignore[misc]

    assert (first, last) == (b"a", b"b")
    assert isinstance(failed, NotFound)
    assert records.runs.get(run_id).params == {"a": "1", "b": "1"}


def test_a_group_whose_transaction_breaks_is_written_one_by_one(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    def too_much() -> bytes:
        records.runs.log(run_id, params=[("too-much", "1")])
        with records.transaction():  # what SQLite does on a full disk: the whole transaction is gone
            records._database._writer.driver.rollback()  # type: ignore[attr-defined]
        raise DiskFull("/w")

    async def use(writer: GroupWriter) -> list[object]:
        writes = [log_param(records, run_id, "a"), too_much, log_param(records, run_id, "b")]
        return await asyncio.gather(*map(writer.write, writes), return_exceptions=True)

    first, failed, last = run(records, use)  # type: ignore[misc]

    assert (first, last) == (b"a", b"b")
    assert isinstance(failed, Exception)
    assert records.runs.get(run_id).params == {"a": "1", "b": "1"}


def test_what_waits_when_the_writer_is_stopped_is_written_first(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    async def main() -> list[object]:
        writer = GroupWriter(records)
        writer.start()
        waiting = [asyncio.ensure_future(writer.write(log_param(records, run_id, f"p{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await writer.stop()
        return list(await asyncio.gather(*waiting))

    assert len(asyncio.run(main())) == 50
    assert len(records.runs.get(run_id).params) == 50


def test_what_arrives_together_is_one_transaction(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id
    committed: list[int] = []
    own: list[int] = []

    def look_then_log(name: str) -> Callable[[], bytes]:
        def apply() -> bytes:
            with ThreadPoolExecutor() as others:  # which see what is committed, and no more
                committed.append(len(others.submit(records.runs.get, run_id).result().params))
            own.append(len(records.runs.get(run_id).params))
            return log_param(records, run_id, name)()

        return apply

    async def use(writer: GroupWriter) -> list[bytes]:
        return await asyncio.gather(*[writer.write(look_then_log(name)) for name in "abc"])

    assert run(records, use) == [b"a", b"b", b"c"]
    assert (committed, own) == ([0, 0, 0], [0, 1, 2])
    assert len(records.runs.get(run_id).params) == 3


def test_a_crowd_is_written_beside_the_event_loop_which_goes_on(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id
    threads: set[str] = set()

    def log(number: int) -> Callable[[], bytes]:
        def apply() -> bytes:
            threads.add(threading.current_thread().name)
            return log_param(records, run_id, f"p{number}")()

        return apply

    async def use(writer: GroupWriter) -> list[bytes]:
        return await asyncio.gather(*[writer.write(log(number)) for number in range(200)])

    assert run(records, use) == [f"p{number}".encode() for number in range(200)]
    assert threads == {"amlstore-writer"}
    assert len(records.runs.get(run_id).params) == 200


def test_writes_wait_on_the_thread_where_somebody_else_writes(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    async def use(writer: GroupWriter) -> list[bytes]:
        at_once = await writer.write(log_param(records, run_id, "a"))
        begun, may_end = threading.Event(), threading.Event()

        def hold_the_lock() -> None:
            with records.transaction():
                begun.set()
                may_end.wait()

        other = threading.Thread(target=hold_the_lock)
        other.start()
        begun.wait()
        waiting = asyncio.ensure_future(writer.write(log_param(records, run_id, "b")))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        may_end.set()
        return [at_once, await waiting]

    assert run(records, use) == [b"a", b"b"]
    assert records.runs.get(run_id).params == {"a": "1", "b": "1"}


def test_a_caller_that_went_away_stops_nobody(records: RecordStore) -> None:
    run_id = records.runs.create("0").info.run_id

    async def use(writer: GroupWriter) -> bytes:
        gone = asyncio.ensure_future(writer.write(log_param(records, run_id, "gone")))
        await asyncio.sleep(0)
        gone.cancel()
        return await writer.write(log_param(records, run_id, "here"))

    assert run(records, use) == b"here"
