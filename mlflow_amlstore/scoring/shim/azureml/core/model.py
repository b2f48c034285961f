"""`azureml.core.model` in a scoring script."""

from mlflow_amlstore.scoring.script_models import Model

__all__ = ["Model"]
