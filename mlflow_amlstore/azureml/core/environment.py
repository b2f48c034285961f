"""`azureml.core.environment`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.environment import DockerSection, Environment, ImageBuildDetails, PythonSection

__all__ = ["DockerSection", "Environment", "ImageBuildDetails", "PythonSection"]

__getattr__ = names_the_missing_of(__name__)
