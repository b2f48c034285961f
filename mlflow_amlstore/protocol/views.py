"""Azure ML's and MLflow's words for which experiments and runs are listed."""

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import View

AZURE_VIEWS = {View.ACTIVE: "ActiveOnly", View.DELETED: "ArchivedOnly", View.ALL: "All"}
MLFLOW_VIEWS = {View.ACTIVE: "ACTIVE_ONLY", View.DELETED: "DELETED_ONLY", View.ALL: "ALL"}


def view_from_azure(field: str, word: str) -> View:
    """The view of that word. Raises InvalidValue, which names the field."""
    for view, known in AZURE_VIEWS.items():
        if word == known:
            return view
    raise InvalidValue(field, word, f"must be one of {', '.join(AZURE_VIEWS.values())}")
