"""The statuses of a few runs: what a page that waits for their ends asks for, again and again."""

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.STUDIO)
_MOST_RUNS = 50


class StatusesQuery(msgspec.Struct, frozen=True):
    """Runs, by their ids with commas between."""

    runs: str


class StatusOfRun(msgspec.Struct, frozen=True):
    """The status of a run, and whether it has ended."""

    run_id: str
    name: str
    experiment: str
    status: RunStatus
    has_ended: bool
    started_ms: int | None
    ended_ms: int | None


class Statuses(msgspec.Struct, frozen=True):
    """Of each run that there is its status, in the order that was asked for."""

    runs: list[StatusOfRun]


@ROUTES.get("/statuses.json", Role.READER, Right.LOOK)
def statuses(call: Call, body: StatusesQuery) -> Statuses:
    """Give the statuses of runs; those that aren't there are left out."""
    run_ids = list(dict.fromkeys(each for each in body.runs.split(",") if each))
    if len(run_ids) > _MOST_RUNS:
        raise InvalidValue("runs", f"{len(run_ids)} of them", f"must be at most {_MOST_RUNS} ids with commas between")
    found = []
    for run_id in run_ids:
        try:
            info = call.records.runs.get(run_id).info
        except NotFound:
            continue
        found.append(
            StatusOfRun(
                run_id=run_id,
                name=info.name,
                experiment=call.records.experiments.get(info.experiment_id).name,
                status=info.status,
                has_ended=info.status in ENDED,
                started_ms=info.start_ms,
                ended_ms=info.end_ms,
            )
        )
    return Statuses(found)
