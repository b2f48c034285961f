"""A signal's handler may raise at any moment of a call: nothing stays open or held, and no half of a record is kept.

`sys.setprofile` stands in for the signal. It calls the handler at each moment at which CPython may do so: where a
function begins, and where a function of C has returned. All tracebacks are kept, as a notebook keeps them.
"""

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mlflow_amlstore.records.folder import create_records, open_records
from mlflow_amlstore.records.locations import DATABASE_NAME
from mlflow_amlstore.records.store import RecordStore

LONGEST_WAIT_S = 60


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordStore]:
    create_records(tmp_path)
    records = open_records(tmp_path)
    yield records
    records.close()


@pytest.fixture
def run_id(records: RecordStore) -> str:
    return records.runs.create("0").info.run_id


class Interrupt(BaseException):
    pass


def _calls_at(moment: int, handle: Callable[[], object]) -> Callable[[FrameType, str, Any], None]:
    left = moment

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event == "call" and sys.version_info < (3, 11) and frame.f_lasti >= 0:
            return  # a generator goes on: an error from here would end it at once, which a handler's doesn't
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                handle()

    return profile


def _raise() -> None:
    raise Interrupt


def _interrupts(act: Callable[[], object], handle: Callable[[], object] = _raise) -> Iterator[BaseException | None]:
    """Act again and again, a handler called at the next moment each time, until one would be past its end."""
    kept: list[BaseException | None] = []
    is_handled = True

    def handle_once() -> None:
        nonlocal is_handled
        is_handled = True
        handle()

    while is_handled:
        is_handled, raised = False, None
        try:
            profile = _calls_at(len(kept) + 1, handle_once)  # named: it ends its own profiling, and goes on
            sys.setprofile(profile)
            act()
        except BaseException as error:
            raised = error
        finally:
            sys.setprofile(None)
        kept.append(raised)
        yield raised


def _in_another_thread(act: Callable[[], object]) -> bool:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT_S)
    return not thread.is_alive()


ACTS: dict[str, Callable[[RecordStore, str], object]] = {
    "a write": lambda records, run_id: records.runs.log(run_id, params=[("lr", "0.1")], tags=[("lr", "0.1")]),
    "a write by SQLAlchemy": lambda records, run_id: records.experiments.set_tag("0", "owner", "me"),
    "a read": lambda records, run_id: records.runs.get(run_id),
    "a transaction of parts": lambda records, run_id: records.runs.create_children(
        records.runs.get(run_id).info, [{"part": "1"}, {"part": "2"}], start_ms=1
    ),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_what_a_handler_raises_at_any_moment_leaves_no_transaction_open_and_no_lock_held(
    tmp_path: Path, records: RecordStore, run_id: str, act: Callable[[RecordStore, str], object]
) -> None:
    act(records, run_id)
    moment = 0

    def write() -> None:
        records.runs.log(run_id, tags=[("moment", str(moment))])

    with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None, timeout=0)) as other:
        for error in _interrupts(lambda: act(records, run_id)):
            moment += 1
            assert error is None or type(error) is Interrupt, moment
            other.execute("BEGIN IMMEDIATE")  # at once, or "database is locked"
            other.execute("UPDATE experiments SET updated_ms = updated_ms + 1")
            other.execute("COMMIT")
            assert _in_another_thread(write), moment
            assert _in_another_thread(lambda: records.runs.get(run_id)), moment
            assert records.runs.get(run_id).tags["moment"] == str(moment)
    assert moment > 50


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_handler_may_write_and_read_at_any_moment(
    records: RecordStore, run_id: str, act: Callable[[RecordStore, str], object]
) -> None:
    act(records, run_id)
    moment = 1
    seen: list[str] = []

    def handle() -> None:
        records.runs.log(run_id, tags=[("moment", str(moment))])
        seen.append(records.runs.get(run_id).tags["moment"])

    for error in _interrupts(lambda: act(records, run_id), handle):
        assert error is None
        assert records.runs.get(run_id).tags["moment"] == (seen or ["0"])[-1]
        moment += 1
    assert len(seen) > 50


def test_a_transaction_that_a_handler_s_error_ends_is_kept_whole_or_not_at_all(
    records: RecordStore, run_id: str
) -> None:
    parent = records.runs.get(run_id).info
    for _ in _interrupts(lambda: records.runs.create_children(parent, [{"part": "1"}, {"part": "2"}], start_ms=1)):
        assert len(records.runs.search(["0"], max_results=None).items) % 2 == 1
