"""The SDK: what users import."""

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.model import Model
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.core.workspace import Workspace

__all__ = ["Environment", "Experiment", "Model", "Run", "Workspace"]
