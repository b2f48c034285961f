"""The status of a logged model in MLflow's REST API."""

WIRE_STATUS = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
"""What is sent for each status of a `LoggedModelRecord`."""
STATUS = {wire: status for status, wire in WIRE_STATUS.items()}
