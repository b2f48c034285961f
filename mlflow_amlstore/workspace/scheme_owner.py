"""Microsoft's own plugin beside ours: both claim `azureml://`, and MLflow takes whichever it happens to load last.

AMLSTORE_AZUREML_PLUGIN decides: `mlflow-amlstore` or `azureml-mlflow`.
"""

import os
from importlib import metadata

from mlflow_amlstore.errors import InvalidValue

VARIABLE = "AMLSTORE_AZUREML_PLUGIN"
OURS = "mlflow-amlstore"
THEIRS = "azureml-mlflow"
SCHEME = "azureml"


def chosen() -> str | None:
    """The package that the environment chooses, or None. Raises InvalidValue for any other."""
    name = os.environ.get(VARIABLE, "").strip().lower().replace("_", "-")
    if name not in ("", OURS, THEIRS):
        raise InvalidValue(VARIABLE, name, f"must be {OURS} or {THEIRS}")
    return name or None


def owner(group: str) -> str | None:
    """The package whose class `azureml://` means in a group of MLflow's entry points; None where nobody claims it."""
    claiming = [entry.dist.name for entry in metadata.entry_points(group=group, name=SCHEME) if entry.dist]
    if len(set(claiming)) > 1:
        return chosen() or claiming[-1]  # MLflow registers them in this order, and the last one stays
    return claiming[-1] if claiming else None
