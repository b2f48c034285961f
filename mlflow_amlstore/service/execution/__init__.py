"""Submission, as Azure ML's SDK v1 calls it, and what agents and runners call. The service runs nobody's code."""

from mlflow_amlstore.service.execution import compute_targets, environments, leases, submissions
from mlflow_amlstore.service.routing import Routes

__all__ = ["ROUTES"]

ROUTES: tuple[Routes, ...] = (submissions.ROUTES, leases.ROUTES, compute_targets.ROUTES, environments.ROUTES)
