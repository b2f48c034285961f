"""`azureml.core`: what scripts import first."""

from mlflow_amlstore import __version__ as _version
from mlflow_amlstore.azureml.core.run import get_run
from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Environment, Experiment, Model, Run, RunConfiguration, ScriptRunConfig, Workspace
from mlflow_amlstore.core.compute import ComputeTarget
from mlflow_amlstore.core.script_run import ScriptRun

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Environment",
    "Experiment",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "Workspace",
    "get_run",
]

# The release of the SDK whose names these are, which scripts compare; after the plus, what they really have.
VERSION = __version__ = f"1.61.0+amlstore.{_version}"

__getattr__ = names_the_missing_of(__name__)
