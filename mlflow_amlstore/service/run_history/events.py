"""Events: how Azure ML's SDK says what becomes of a run. The status changes by them alone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.event_names import ERROR, EVENTS, PREFIX
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunError, RunStatus
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.service.run_history.experiments import run_of
from mlflow_amlstore.service.run_history.run_dto import time_of

ROUTES = Routes(Area.HISTORY)

_STATUS = {PREFIX + event: status for status, event in EVENTS.items()}
_ERROR = PREFIX + ERROR
_WITHOUT_EFFECT = (f"{PREFIX}Warning", f"{PREFIX}Heartbeat")


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a run, at a time, with what its kind says of it."""

    name: str
    timestamp: str
    data: dict[str, Any] = {}


class BatchOfEvents(msgspec.Struct, frozen=True):
    """Several events, of several runs: each has its run's id in its data."""

    events: list[Event]


class BatchOfEventsResult(msgspec.Struct, frozen=True):
    """What became of each, by its place in the batch."""

    errors: list[dict[str, Any]]
    successes: list[int]


@ROUTES.post("/experiments/{experiment}/runs/{run}/events", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.post("/experimentids/{experiment_id}/runs/{run}/events", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.post("/runs/{run}/events", Role.CONTRIBUTOR, Right.TRACK)
def post(call: Call, body: Event) -> None:
    """Take note of what happened to a run."""
    _take(call, call.path["run"], body)


@ROUTES.post("/experiments/{experiment}/batch/events", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.post("/experimentids/{experiment_id}/batch/events", Role.CONTRIBUTOR, Right.TRACK)
@ROUTES.post("/batch/events", Role.CONTRIBUTOR, Right.TRACK)
def post_many(call: Call, body: BatchOfEvents) -> BatchOfEventsResult:
    """Take note of what happened to several runs: all of it, or none."""
    for event in body.events:
        _take(call, str(_field(event.data, "RunId") or ""), event)
    return BatchOfEventsResult([], list(range(len(body.events))))


def _take(call: Call, run_id: str, event: Event) -> None:
    known = run_of(call, run_id).info.status
    if event.name in _WITHOUT_EFFECT:
        return
    if event.name == _ERROR:
        call.records.runs.update(run_id, error=_error(event.data))
        return
    status = _STATUS.get(event.name)
    if status is None:
        names = ", ".join((*_STATUS, _ERROR, *_WITHOUT_EFFECT))
        raise InvalidValue("event", event.name, f"must be one of {names}")
    if known in ENDED and status not in ENDED:
        return  # as one that was sent again, or late, is: it doesn't begin once more
    if status not in (RunStatus.RUNNING, *ENDED) or (known is RunStatus.CANCEL_REQUESTED and status not in ENDED):
        call.records.runs.advance(run_id, status)
        return
    at = _field(event.data, "StartTime" if status is RunStatus.RUNNING else "EndTime") or event.timestamp
    call.records.runs.update(
        run_id,
        status=status,
        start_ms=time_of(str(at)) if status is RunStatus.RUNNING else None,
        end_ms=time_of(str(at)) if status in ENDED else None,
    )


def _error(data: Mapping[str, Any]) -> RunError:
    response = _field(data, "ErrorResponse") or {}
    error = _field(response, "error") or {}
    return RunError(str(_field(error, "code") or "UserError"), str(_field(error, "message") or ""))


def _field(values: Any, name: str) -> Any:
    """A field in Azure's spelling or with a small first letter, as both are sent."""
    if not isinstance(values, Mapping):
        return None
    return values.get(name, values.get(name[0].lower() + name[1:]))
