"""`azureml.core.model`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Model
from mlflow_amlstore.core.inference_config import InferenceConfig
from mlflow_amlstore.core.model_package import ModelPackage
from mlflow_amlstore.core.resource_configuration import ResourceConfiguration

__all__ = ["InferenceConfig", "Model", "ModelPackage", "ResourceConfiguration"]

__getattr__ = names_the_missing_of(__name__)
