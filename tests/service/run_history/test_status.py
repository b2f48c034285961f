"""A run's status is what events make it; nothing else changes that of a run that is there."""

from typing import Any

import pytest

from tests.service.run_history.conftest import Call, new_run, refused

AT, LATER = "2026-08-01T10:00:00.000Z", "2026-08-01T11:00:00.000Z"
ENDS = pytest.mark.parametrize("end", ["Completed", "Failed", "Canceled"])


def tell(call: Call, run_id: str, event: str, at: str = AT, **data: object) -> None:
    told = {"name": f"Microsoft.MachineLearning.Run.{event}", "timestamp": at, "data": {"RunId": run_id, **data}}
    call("history", "POST", f"runs/{run_id}/events", told)


def run(call: Call, run_id: str) -> Any:
    return call("history", "GET", f"runs/{run_id}")


@pytest.mark.parametrize(("given", "status"), [({}, "NotStarted"), ({"status": "Queued"}, "Queued")])
def test_a_new_run_has_the_status_that_it_is_made_with(call: Call, given: dict[str, str], status: str) -> None:
    assert run(call, new_run(call, **given))["status"] == status


@pytest.mark.parametrize("route", ["runs/{run}", "experiments/e/runs/{run}", "experiments/e/batch/runs"])
def test_a_change_of_a_run_leaves_its_status(call: Call, run_id: str, route: str) -> None:
    tell(call, run_id, "Start")
    change = {"runId": run_id, "status": "NotStarted", "tags": {"t": "1"}}
    call("history", "PATCH", route.format(run=run_id), {"runs": [change]} if "batch" in route else change)
    assert (run(call, run_id)["status"], run(call, run_id)["tags"]) == ("Running", {"t": "1"})


@ENDS
@pytest.mark.parametrize("late", ["Start", "Queued", "CancelRequested", "Heartbeat"])
def test_a_run_that_has_ended_doesn_t_begin_again(call: Call, run_id: str, end: str, late: str) -> None:
    tell(call, run_id, "Start", StartTime=AT)
    tell(call, run_id, end, EndTime=LATER)
    ended = run(call, run_id)
    tell(call, run_id, late, StartTime=LATER)
    assert run(call, run_id) == ended
    assert (ended["status"], ended["startTimeUtc"], ended["endTimeUtc"]) == (end, AT, LATER)


@ENDS
def test_it_may_end_otherwise(call: Call, run_id: str, end: str) -> None:
    tell(call, run_id, "Completed")
    tell(call, run_id, end)
    assert run(call, run_id)["status"] == end


@pytest.mark.parametrize("name", ["Start", "Microsoft.MachineLearning.Run.Never", ""])
def test_an_event_of_another_name_is_refused(call: Call, run_id: str, name: str) -> None:
    event = {"name": name, "timestamp": AT}
    answer = refused(call, "history", "POST", f"runs/{run_id}/events", event)
    assert (answer.status, "must be one of Microsoft.MachineLearning.Run.Start, " in answer.body) == (400, True)
