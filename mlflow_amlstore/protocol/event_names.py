"""The events by which a run's course is told, in Azure ML's words (azureml-wire.md, section 6.3)."""

from mlflow_amlstore.records.types import RunStatus

PREFIX = "Microsoft.MachineLearning.Run."
"""What every event's name begins with."""
EVENTS = {
    RunStatus.RUNNING: "Start",
    RunStatus.COMPLETED: "Completed",
    RunStatus.FAILED: "Failed",
    RunStatus.CANCELED: "Canceled",
    RunStatus.CANCEL_REQUESTED: "CancelRequested",
    RunStatus.QUEUED: "Queued",
    RunStatus.PREPARING: "Preparing",
    RunStatus.STARTING: "Starting",
    RunStatus.FINALIZING: "Finalizing",
}
"""The event that gives a run each status. The last three are ours, of a submitted run's runner."""
ERROR = "Error"
"""The event that says why a run failed."""
