"""Azure ML's SDK in a scoring script: `Model.get_model_path`, and no more."""

from typing import Any

from mlflow_amlstore.errors import ImportNotSupported
from mlflow_amlstore.scoring.script_models import INSTEAD, Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportNotSupported(f"azureml.core.{name} in a scoring script", INSTEAD)
