"""Files over HTTP: Azure ML's artifact routes and storage protocol, and MLflow's artifact proxy."""

from mlflow_amlstore.service.files import blobs, generic_artifacts, proxy, run_artifacts
from mlflow_amlstore.service.routing import Routes

__all__ = ["ROUTES"]

ROUTES: tuple[Routes, ...] = (blobs.ROUTES, run_artifacts.ROUTES, generic_artifacts.ROUTES, proxy.ROUTES)
