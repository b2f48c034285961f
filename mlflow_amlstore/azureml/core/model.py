"""`azureml.core.model`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Model

__all__ = ["Model"]

__getattr__ = names_the_missing_of(__name__)
