"""`azureml.core.script_run`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.script_run import ScriptRun

__all__ = ["ScriptRun"]

__getattr__ = names_the_missing_of(__name__)
