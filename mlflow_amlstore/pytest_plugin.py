"""The fixture `amlstore_workspace`: an empty workspace for one test, with MLflow pointed at it.

pytest loads this module in every session where the package is installed, so it imports nothing heavy: MLflow and the
workspace are loaded by the first test that asks for the fixture.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlflow_amlstore.core import Workspace

# What MLflow reads at the start of a run, and what it sets itself for the processes that a run starts.
_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
)

# What `mlflow.tracking.fluent` remembers between calls. MLflow has no public way to read or reset these. The last two
# came with MLflow 3.
_REMEMBERED = (
    "_active_run_stack",
    "_active_experiment_id",
    "_last_active_run_id",
    "_last_logged_model_id",
    "_ACTIVE_MODEL_CONTEXT",
)


@pytest.fixture
def amlstore_workspace(tmp_path: Path) -> "Iterator[Workspace]":
    """An empty workspace in `tmp_path`; MLflow tracks into it until the test ends, then is as it was before."""
    from mlflow_amlstore.core import Workspace

    workspace = Workspace.create(tmp_path / "workspace")
    with ExitStack() as undo:
        undo.callback(workspace.close)
        undo.enter_context(_mlflow_pointed_at(workspace.get_mlflow_tracking_uri()))
        yield workspace


@contextmanager
def _mlflow_pointed_at(uri: str) -> Iterator[None]:
    """Point MLflow at a tracking URI as in a fresh process; on leaving, end the runs begun and put everything back."""
    import mlflow
    from mlflow.tracking import fluent
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    with ExitStack() as undo:
        for name in _VARIABLES:
            undo.callback(_set_variable, name, os.environ.pop(name, None))
        undo.callback(setattr, registry, "_registry_uri", registry._registry_uri)
        undo.enter_context(_use_tracking_uri(uri))
        mlflow.set_registry_uri(uri)
        for name in _REMEMBERED:
            if hasattr(fluent, name):
                before = getattr(fluent, name)
                undo.callback(setattr, fluent, name, before)
                setattr(fluent, name, _empty_like(before))
        undo.callback(_end_runs, mlflow.active_run, mlflow.end_run)
        yield


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _empty_like(remembered: Any) -> Any:
    """A fresh value of the kind that MLflow has here: one per thread, or in older releases a list or None."""
    if hasattr(remembered, "default_factory"):
        return type(remembered)(default_factory=remembered.default_factory)
    return [] if isinstance(remembered, list) else None


def _end_runs(active_run: Callable[[], object | None], end_run: Callable[[], None]) -> None:
    """End this thread's runs, so that nothing (system metrics, say) goes on logging into a workspace that is gone."""
    while active_run() is not None:
        end_run()
