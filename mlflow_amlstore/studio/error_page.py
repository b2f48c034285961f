"""What a browser is shown in place of a page: what is wrong, and the way out."""

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from mlflow_amlstore.errors import AmlStoreError, NotFound, RouteNotFound, TokenRefused
from mlflow_amlstore.studio.page import alone, alone_headers
from mlflow_amlstore.studio.sign_in import sign_in_page


def error_page(error: AmlStoreError, scope: Scope, request_id: str) -> Response:
    """A page that tells of an error; without a session, the one to sign in."""
    raw_path = scope.get("raw_path", b"/").decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    if isinstance(error, TokenRefused):
        text = sign_in_page(raw_path, to=f"{raw_path}?{query}" if query else raw_path, why=error.problem)
        return HTMLResponse(text, 401, alone_headers())
    what = "There is no such page" if isinstance(error, RouteNotFound) else _heading(error)
    text = alone("error.html", raw_path, heading=what, message=str(error), request_id=request_id)
    return HTMLResponse(text, error.http_status, alone_headers())


def _heading(error: AmlStoreError) -> str:
    if isinstance(error, NotFound):
        return "This workspace doesn't have that"
    return "The workspace can't answer" if error.http_status >= 500 else "This can't be shown"
