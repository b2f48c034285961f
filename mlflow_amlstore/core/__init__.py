"""The SDK: what users import."""

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.model import Model
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.core.run_configuration import RunConfiguration
from mlflow_amlstore.core.run_context import run_context, workspace_of_submitted_run
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.core.workspace import Workspace

# Runs and models stand below the workspace that these open.
Run._find_context = run_context
Model._of_submitted_run = workspace_of_submitted_run

__all__ = ["Environment", "Experiment", "Model", "Run", "RunConfiguration", "ScriptRunConfig", "Workspace"]
