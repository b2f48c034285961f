"""A run in a notebook, live; in a terminal or a script as text."""

from mlflow_amlstore.widgets.run_details import RunDetails

__all__ = ["RunDetails"]
