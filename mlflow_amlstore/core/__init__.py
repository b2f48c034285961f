"""The SDK: what users import. `Workspace` now; experiments and runs follow."""

from mlflow_amlstore.core.workspace import Workspace

__all__ = ["Workspace"]
