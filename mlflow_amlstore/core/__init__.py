"""The SDK: what users import."""

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.model import Model
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.core.run_context import run_context
from mlflow_amlstore.core.workspace import Workspace

Run._find_context = run_context  # a run stands below the workspace that this opens

__all__ = ["Environment", "Experiment", "Model", "Run", "Workspace"]
