"""`azureml.core.resource_configuration`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.resource_configuration import ResourceConfiguration

__all__ = ["ResourceConfiguration"]

__getattr__ = names_the_missing_of(__name__)
