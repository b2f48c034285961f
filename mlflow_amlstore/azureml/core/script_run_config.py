"""`azureml.core.script_run_config`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import ScriptRunConfig
from mlflow_amlstore.core.run_configuration import (
    DockerConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
)

__all__ = [
    "DockerConfiguration",
    "MpiConfiguration",
    "PyTorchConfiguration",
    "ScriptRunConfig",
    "TensorflowConfiguration",
]

__getattr__ = names_the_missing_of(__name__)
