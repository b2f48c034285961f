"""The run that this process is, where it was submitted: its launcher says what becomes of it, and MLflow doesn't."""

import os

_VARIABLE = "AZUREML_RUN_ID"


def is_this_process(run_id: str) -> bool:
    """Whether a run is the one that this process was submitted as; Azure ML's own client leaves its status alone."""
    return run_id == os.environ.get(_VARIABLE)
