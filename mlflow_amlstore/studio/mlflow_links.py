"""The links that MLflow prints: `http://HOST/mlflow/v2.0/…/workspaces/NAME/#/experiments/E/runs/R`.

What follows `#` never reaches the service, so a page without anything to see reads it and goes on.
"""

from mlflow_amlstore.service.addresses import WORKSPACE
from mlflow_amlstore.service.routing import Access, Area, Call, Content, Routes
from mlflow_amlstore.studio.page import alone, alone_headers

ROUTES = Routes(Area.STUDIO)


@ROUTES.get(f"/mlflow/v2.0{WORKSPACE}", Access.PUBLIC)
@ROUTES.get(f"/mlflow/v2.0{WORKSPACE}/", Access.PUBLIC)
def follow(call: Call) -> Content:
    """Lead a link that MLflow printed to its page."""
    text = alone("mlflow_link.html", call.url.partition("?")[0])
    return Content(text.encode(), "text/html; charset=utf-8", tuple(alone_headers().items()))
