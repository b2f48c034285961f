"""Azure ML's run history, as its SDK v1 calls it (azureml-wire.md, section 6)."""

from mlflow_amlstore.service.routing import Routes
from mlflow_amlstore.service.run_history import (
    events,
    experiments,
    metrics,
    metrics_v1,
    model_management,
    runs,
    snapshots,
)

__all__ = ["ROUTES"]

ROUTES: tuple[Routes, ...] = (
    experiments.ROUTES,
    runs.ROUTES,
    events.ROUTES,
    metrics.ROUTES,
    metrics_v1.ROUTES,
    snapshots.ROUTES,
    model_management.ROUTES,
)
