"""Studio: a workspace in a browser. Pages over the record store, served by `service`."""

from mlflow_amlstore.service.routing import Route
from mlflow_amlstore.studio import assets, changes, live, mlflow_links, run_charts, run_names, run_statuses, sign_in
from mlflow_amlstore.studio.error_page import error_page as error_page
from mlflow_amlstore.studio.pages import (
    compare,
    compute,
    curves,
    experiments,
    models,
    outputs,
    run,
    runs,
    runs_csv,
    workspace,
)
from mlflow_amlstore.studio.submitting_again import routes_of as routes_of

ROUTES: tuple[Route, ...] = tuple(
    route
    for routes in (
        workspace.PAGES.routes,
        workspace.ROUTES,
        experiments.PAGES.routes,
        runs.PAGES.routes,
        runs_csv.ROUTES,
        run_charts.ROUTES,
        run_names.ROUTES,
        run.PAGES.routes,
        run_statuses.ROUTES,
        curves.ROUTES,
        outputs.PAGES.routes,
        outputs.ROUTES,
        compare.PAGES.routes,
        compute.PAGES.routes,
        models.PAGES.routes,
        models.ROUTES,
        changes.ROUTES,
        sign_in.ROUTES,
        live.ROUTES,
        assets.ROUTES,
        mlflow_links.ROUTES,
    )
    for route in routes
)
"""Studio's part of the route table."""
