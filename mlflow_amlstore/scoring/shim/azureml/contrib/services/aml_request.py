"""`rawhttp` and the request that it gives to a scoring script."""

from mlflow_amlstore.scoring.script_http import AMLRequest, rawhttp

__all__ = ["AMLRequest", "rawhttp"]
