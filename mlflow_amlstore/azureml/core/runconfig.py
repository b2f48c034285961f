"""`azureml.core.runconfig`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.environment import (
    DEFAULT_CPU_IMAGE,
    DEFAULT_GPU_IMAGE,
    ContainerRegistry,
    DockerSection,
    PythonSection,
)
from mlflow_amlstore.core.run_configuration import (
    AmlComputeConfiguration,
    DockerConfiguration,
    HistoryConfiguration,
    KubernetesComputeConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    TensorflowConfiguration,
)

__all__ = [
    "DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE",
    "AmlComputeConfiguration",
    "ContainerRegistry",
    "DockerConfiguration",
    "DockerSection",
    "HistoryConfiguration",
    "KubernetesComputeConfiguration",
    "MpiConfiguration",
    "PyTorchConfiguration",
    "PythonSection",
    "RunConfiguration",
    "TensorflowConfiguration",
]

__getattr__ = names_the_missing_of(__name__)
