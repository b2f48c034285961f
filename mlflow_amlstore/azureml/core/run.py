"""`azureml.core.run`."""

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Experiment, Run
from mlflow_amlstore.core.run import OfflineRun as _OfflineRun  # noqa: F401  # scripts ask whether a run is one

__all__ = ["Run", "get_run"]

__getattr__ = names_the_missing_of(__name__)


def get_run(experiment: Experiment, run_id: str, rehydrate: bool = True, clean_up: bool = True) -> Run:
    """Open a run of an experiment, as `Run(experiment, run_id)`; `rehydrate` and `clean_up` change nothing."""
    return Run(experiment, run_id)
