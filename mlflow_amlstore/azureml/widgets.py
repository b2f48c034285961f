"""`azureml.widgets`: a run in a notebook, live."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.widgets import RunDetails

__all__ = ["RunDetails"]

__getattr__ = names_the_missing_of(__name__)
