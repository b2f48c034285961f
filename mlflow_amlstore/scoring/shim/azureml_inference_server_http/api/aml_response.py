"""An answer with a status and headers of a scoring script's own."""

from mlflow_amlstore.scoring.script_http import AMLResponse

__all__ = ["AMLResponse"]
