"""Run statuses in MLflow's words and in Azure ML's, which records hold (`RunStatus`)."""

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import RunStatus

ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED})
"""The statuses of a run that has ended."""

WAITING = frozenset({RunStatus.NOT_STARTED, RunStatus.QUEUED})
"""The statuses of a run that waits for a slot."""

MLFLOW_STATUS: dict[RunStatus, str] = {
    RunStatus.NOT_STARTED: "SCHEDULED",
    RunStatus.QUEUED: "SCHEDULED",
    RunStatus.PREPARING: "SCHEDULED",
    RunStatus.STARTING: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.CANCEL_REQUESTED: "RUNNING",
    RunStatus.FINALIZING: "RUNNING",
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELED: "KILLED",
}

# Where several of Azure's words are one of MLflow's, the one that a run logged through MLflow gets.
_FROM_MLFLOW = {
    "SCHEDULED": RunStatus.QUEUED,
    "RUNNING": RunStatus.RUNNING,
    "FINISHED": RunStatus.COMPLETED,
    "FAILED": RunStatus.FAILED,
    "KILLED": RunStatus.CANCELED,
}


def status_from_mlflow(word: str) -> RunStatus:
    """Return the status that MLflow's `word` is kept as. Raises InvalidValue."""
    try:
        return _FROM_MLFLOW[word]
    except KeyError:
        raise InvalidValue("run status", word, f"must be one of {', '.join(_FROM_MLFLOW)}") from None


def status_from_azure(word: str) -> RunStatus:
    """Return the status that Azure ML's `word` is. Raises InvalidValue."""
    try:
        return RunStatus(word)
    except ValueError:
        raise InvalidValue(
            "status", word, f"must be one of {', '.join(status.value for status in RunStatus)}"
        ) from None
