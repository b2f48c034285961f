"""MLflow's REST API: one module per resource, its messages beside its handlers; what isn't supported is listed too."""

from mlflow_amlstore.service.mlflow_api import (
    datasets,
    experiments,
    logged_models,
    metrics,
    model_versions,
    models,
    run_log,
    runs,
    server_info,
    traces,
    unsupported_routes,
)
from mlflow_amlstore.service.routing import Routes

ROUTES: tuple[Routes, ...] = (
    experiments.routes,
    runs.routes,
    run_log.routes,
    metrics.routes,
    datasets.routes,
    logged_models.routes,
    models.routes,
    model_versions.routes,
    server_info.routes,
    traces.routes,
    unsupported_routes.routes,
)
