"""`azureml.core.conda_dependencies`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.conda_dependencies import CondaDependencies

__all__ = ["CondaDependencies"]

__getattr__ = names_the_missing_of(__name__)
