"""`azureml.core.experiment`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Experiment

__all__ = ["Experiment"]

__getattr__ = names_the_missing_of(__name__)
