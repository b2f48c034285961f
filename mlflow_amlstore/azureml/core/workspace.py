"""`azureml.core.workspace`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Workspace

__all__ = ["Workspace"]

__getattr__ = names_the_missing_of(__name__)
