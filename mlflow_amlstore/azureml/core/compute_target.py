"""`azureml.core.compute_target`: the error that scripts catch where a target isn't there yet."""

from mlflow_amlstore.azureml.exceptions import ComputeTargetException
from mlflow_amlstore.azureml.finder import names_the_missing_of

__all__ = ["ComputeTargetException"]

__getattr__ = names_the_missing_of(__name__)
