"""`azureml.core.compute`: names for slots on this machine."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core.compute import AmlCompute, ComputeTarget

__all__ = ["AmlCompute", "ComputeTarget"]

__getattr__ = names_the_missing_of(__name__)
