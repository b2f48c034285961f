"""Canceling a run, by whichever way somebody asks for it."""

import time

from mlflow_amlstore.errors import Deleted
from mlflow_amlstore.records.common_store import CommonRuns
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunStatus


def cancel(runs: CommonRuns, run_id: str) -> None:
    """Cancel a run; one that has ended stays as it is. Raises NotFound, Deleted.

    A run that was submitted becomes CancelRequested: whoever looks after it, in a queue too, ends it and says so. The
    process of any other run isn't ours to end: the run is marked Canceled.
    """
    info = runs.get(run_id).info
    if info.status in ENDED:
        return
    if info.deleted_ms is not None:
        raise Deleted("run", run_id)
    if runs.definition(run_id):
        runs.advance(run_id, RunStatus.CANCEL_REQUESTED)
    else:
        runs.update(run_id, status=RunStatus.CANCELED, end_ms=time.time_ns() // 1_000_000)
