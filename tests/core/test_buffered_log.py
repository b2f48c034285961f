"""Values wait in memory for at most 0.2 s; what is refused is lost alone, and all else is written once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.core.buffered_log import CAPACITY
from mlflow_amlstore.errors import (
    AmlStoreError,
    Deleted,
    DiskFull,
    InvalidValue,
    PartlyRefused,
    ServiceError,
    ServiceUnreachable,
)
from mlflow_amlstore.records.types import LoggedTuple, MetricKind

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


def test_a_value_is_written_by_itself_without_a_flush(ws: Workspace, run: Run) -> None:
    run.log("m", 1)
    while not ws.records.metrics.list_metrics(run.id):
        time.sleep(0.01)


def test_what_was_logged_is_read_back_at_once_by_any_run_object_of_the_process(ws: Workspace, run: Run) -> None:
    run.log("m", 1)
    assert run.get_metrics() == {"m": 1}
    run.log("m", 2)
    assert Run.get(ws, run.id).get_metrics() == {"m": [1, 2]}


class FlakyMetrics:
    """A workspace's metrics that refuse to be written as long as they are told to."""

    def __init__(self, run: Run) -> None:
        self._log_values = run.experiment.workspace.records.metrics.log_values
        self.error: Exception | None = None
        self.is_written_first = False  # the error comes after the write, as when a service's answer is lost
        self.failing_name: str | None = None  # of the group's first value; any by default
        self.takes_s = 0.0
        self.calls = 0
        self.is_open = threading.Event()
        self.is_open.set()

    def log_values(self, run_id: str, logged: list[LoggedTuple], **more: Any) -> int:
        self.calls += 1
        self.is_open.wait()
        time.sleep(self.takes_s)
        fails = self.error is not None and bool(logged) and self.failing_name in (None, logged[0][0])
        if fails and self.is_written_first:
            self._log_values(run_id, logged, **more)
        if fails and self.error is not None:
            raise self.error
        return self._log_values(run_id, logged, **more)


@pytest.fixture
def flaky(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyMetrics]:
    metrics = FlakyMetrics(run)
    monkeypatch.setattr(run.experiment.workspace.records.metrics, "log_values", metrics.log_values)
    yield metrics
    metrics.is_open.set()


def test_values_that_cannot_be_written_now_wait_and_flush_says_why(
    run: Run, flaky: FlakyMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.error = DiskFull("workspace")
    run.log("m", 1)
    run.log("m", 2)
    for _ in range(2):
        with pytest.raises(DiskFull):
            run.flush()
    while not caplog.messages:
        time.sleep(0.01)
    assert caplog.messages == [f"Values logged into run {run.id} wait to be written: {flaky.error}"]
    flaky.error = None
    assert run.get_metrics() == {"m": [1, 2]}


def test_they_are_written_later_by_themselves(ws: Workspace, run: Run, flaky: FlakyMetrics) -> None:
    flaky.error = DiskFull("workspace")
    run.log("m", 1)
    with pytest.raises(DiskFull):
        run.flush()
    flaky.error = None
    while not ws.records.metrics.list_metrics(run.id):
        time.sleep(0.05)


def test_a_flush_doesn_t_wait_for_what_others_log_meanwhile(run: Run, flaky: FlakyMetrics) -> None:
    flaky.takes_s = 0.05  # a service far away
    has_flushed = threading.Event()

    def log() -> None:
        while not has_flushed.is_set():
            run.log("m", 0.5)
            time.sleep(0.005)

    logging = threading.Thread(target=log)
    logging.start()
    try:
        flushed = threading.Thread(target=run.flush)
        flushed.start()
        flushed.join()
    finally:
        has_flushed.set()
        logging.join()


def test_a_flush_raises_what_the_write_under_way_fails_by(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error = ServiceUnreachable("http://localhost", "tried long enough")
    flaky.is_open.clear()
    run.log("m", 1)
    while not flaky.calls:
        time.sleep(0.01)
    errors: list[Exception] = []

    def flush() -> None:
        try:
            run.flush()
        except ServiceUnreachable as error:
            errors.append(error)

    flushed = threading.Thread(target=flush)
    flushed.start()
    time.sleep(0.2)
    flaky.is_open.set()
    flushed.join()
    assert (errors, flaky.calls) == ([flaky.error], 1)
    flaky.error = None


def test_a_full_buffer_slows_the_caller_and_drops_nothing(run: Run, flaky: FlakyMetrics) -> None:
    flaky.is_open.clear()
    logged = threading.Thread(target=lambda: [run.log("m", 0.5) for _ in range(CAPACITY + 10)])
    logged.start()
    logged.join(timeout=3)
    assert logged.is_alive()
    flaky.is_open.set()
    logged.join()
    assert len(run.get_metrics()["m"]) == CAPACITY + 10


def test_a_name_that_another_process_took_for_another_kind_loses_that_value_alone(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    for n in range(5):
        run.log("m", n)
        if n == 3:
            run.log("taken", 1)
    with pytest.raises(InvalidValue, match="'taken' for metric: is already logged as a row; choose another name"):
        run.flush()
    run.flush()
    assert run.get_metrics() == {"taken": {"x": 1.0}, "m": [0, 1, 2, 3, 4]}


def test_what_was_written_of_a_group_is_not_written_again(ws: Workspace, run: Run, flaky: FlakyMetrics) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    flaky.error, flaky.failing_name = DiskFull("workspace"), "taken"
    run.log("m", 1)
    run.log("taken", 1)  # makes the group be written by halves: the first, and on a disk that is full now, not this
    with pytest.raises(DiskFull):
        run.flush()
    flaky.error = None
    with pytest.raises(InvalidValue, match="'taken'"):
        run.flush()
    assert run.get_metrics("m") == {"m": 1}


@pytest.mark.parametrize("ws", ["served"], indirect=True)
def test_a_service_applies_once_what_was_sent_again_for_a_lost_answer(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.is_written_first = ServiceUnreachable("http://localhost", "the answer was lost"), True
    for n in range(3):
        run.log("m", n)
    for _ in range(2):
        with pytest.raises(ServiceUnreachable):
            run.flush()
    flaky.error = None
    assert run.get_metrics() == {"m": [0, 1, 2]}


def test_an_error_of_no_known_kind_loses_what_causes_it_alone(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.failing_name = TypeError("odd"), "odd"
    run.log("odd", 1)
    run.log("m", 1)
    with pytest.raises(TypeError, match="odd"):
        run.flush()
    flaky.error = None
    assert run.get_metrics() == {"m": 1}


def test_what_is_logged_while_a_value_is_refused_holds_up_no_other(
    ws: Workspace, run: Run, flaky: FlakyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky.error, flaky.failing_name = TypeError("odd"), "odd"

    def log_values(run_id: str, logged: list[LoggedTuple], **more: Any) -> int:
        if [call[0] for call in logged] == ["odd"]:
            for _ in range(5):  # as another thread may just now
                run.log("odd", 1)
        return flaky.log_values(run_id, logged, **more)

    monkeypatch.setattr(ws.records.metrics, "log_values", log_values)
    run.log("odd", 1)
    run.log("m", 1)
    with pytest.raises(TypeError, match="odd"):
        run.flush()
    assert [found.name for found in ws.records.metrics.list_metrics(run.id)] == ["m"]
    flaky.error = None


@EACH_KIND
def test_a_name_of_another_kind_is_refused_at_the_call(run: Run) -> None:
    run.log("m", 1)
    with pytest.raises(InvalidValue, match="'m' for metric: is already logged as a scalar; choose another name for"):
        run.log_row("m", x=1)
    assert run.get_metrics() == {"m": 1}


def test_what_a_workspace_took_in_part_is_not_sent_again(run: Run, flaky: FlakyMetrics) -> None:
    flaky.error, flaky.is_written_first = PartlyRefused(2, ["odd"], "it is odd"), True
    run.log("m", 1)
    run.log("odd", 1)
    with pytest.raises(PartlyRefused, match="'odd': it is odd"):
        run.flush()
    flaky.error = None
    assert run.get_metrics("m") == {"m": 1}
    run.log_row("odd", x=1)  # which the records refuse, not the memory of what was refused
    with pytest.raises(InvalidValue, match="'odd'"):
        run.flush()


@EACH_KIND
def test_a_name_refused_for_its_kind_is_taken_as_the_right_one_afterwards(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    run.log("taken", 1)
    with pytest.raises(AmlStoreError, match="'taken' for metric"):
        run.flush()
    run.log_row("taken", x=2.0)
    at_once = Run(run.experiment, run.id, synchronous=True)
    with pytest.raises(InvalidValue, match="'taken'"):
        at_once.log("taken", 1)
    assert run.get_metrics() == {"taken": {"x": [1.0, 2.0]}}


@EACH_KIND
def test_a_run_that_lost_a_value_is_completed_all_the_same(ws: Workspace, run: Run) -> None:
    ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
    run.log("taken", 1)
    with pytest.raises(AmlStoreError, match="'taken' for metric"):
        run.complete()
    assert run.get_status() == "Completed"


@EACH_KIND
def test_a_value_larger_than_a_request_may_be_is_lost_alone(ws: Workspace, run: Run) -> None:
    run.log("text", "before")
    run.log("text", "x" * 40_000_000)
    run.log("text", "after")
    if ws.path is None:
        with pytest.raises(ServiceError, match="is over 33554432 bytes"):
            run.flush()
    texts = run.get_metrics()["text"]
    assert [text for text in texts if len(text) < 10] == ["before", "after"]


@EACH_KIND
def test_a_list_may_be_longer_than_a_request(run: Run) -> None:
    run.log_list("long", range(300_000))
    run.log_table("wide", {f"column {n}": [n] * 3000 for n in range(20)})
    assert run.get_metrics("long")["long"] == list(range(300_000))
    assert run.get_metrics("wide")["wide"]["column 19"] == [19] * 3000


def test_values_of_a_deleted_run_are_refused(ws: Workspace, run: Run) -> None:
    ws.records.runs.delete(run.id)  # type: ignore[attr-defined]  # an embedded workspace's can be
    run.log("m", 1)
    with pytest.raises(Deleted):
        run.flush()
    run.flush()


def test_a_completed_run_still_takes_values(experiment: Experiment) -> None:
    with experiment.start_logging() as run:
        run.log("m", 1)
    run.log("m", 2)
    assert (run.get_metrics(), run.get_status()) == ({"m": [1, 2]}, "Completed")


def test_this_folder_is_left_as_it_was(run: Run) -> None:
    run.log("m", 1)
    run.complete()
    assert Path().resolve().name == "here"
    assert list(Path().iterdir()) == []


class TestDescriptions:
    def test_those_of_others_are_kept_where_one_value_is_refused(self, ws: Workspace, run: Run) -> None:
        ws.records.metrics.log_values(run.id, [("taken", MetricKind.ROW, {"x": [1.0]}, None, 0)])
        run.log("before", 1, "said before")
        run.log("taken", 1, "of a number")
        run.log("after", 1, "said after")
        with pytest.raises(InvalidValue, match="taken"):
            run.flush()
        assert run.get_metric_descriptions() == {"before": "said before", "after": "said after"}
        run.log("before", 2)
        assert run.get_metric_descriptions() == {"before": "said before", "after": "said after"}

    def test_a_refused_value_says_nothing_of_the_metric_that_has_its_name(self, ws: Workspace, run: Run) -> None:
        run.log_row("taken", "of a row", x=1.0)
        run.flush()
        other = run.experiment.workspace.records.metrics
        with pytest.raises(InvalidValue):
            calls = [("taken", MetricKind.SCALAR, 1.0, None, 0)]
            other.log_values(run.id, calls, descriptions={"taken": "of a number"})
        assert run.get_metric_descriptions() == {"taken": "of a row"}

    def test_the_last_one_given_is_kept_whoever_gave_it(self, ws: Workspace, run: Run) -> None:
        run.log("loss", 1, "first")
        run.flush()
        calls = [("loss", MetricKind.SCALAR, 1.0, None, 0)]
        ws.records.metrics.log_values(run.id, calls, descriptions={"loss": "another process's"})
        run.log("loss", 1, "first")
        assert run.get_metric_descriptions() == {"loss": "first"}
