"""Where endpoints answer: under the service's own address, which leads to whoever runs them. The endpoint itself checks
the key; no role of the workspace opens it.
"""

from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.service.error_answers import error_answer
from mlflow_amlstore.service.forwarding import SAFETY_HEADERS
from mlflow_amlstore.service.routing import Access, Area, Call, Right, Routes

ROUTES = Routes(Area.ROOT)

_PREFIX = "/endpoints/{name}"


@ROUTES.get(f"{_PREFIX}/score", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.post(f"{_PREFIX}/score", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.post(f"{_PREFIX}/score:predict", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.post(f"{_PREFIX}/invocations", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.get(f"{_PREFIX}/swagger.json", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.get(f"{_PREFIX}/health", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.get(f"{_PREFIX}/v2/{{path:path}}", Access.ENDPOINT_KEY, Right.DEPLOY)
@ROUTES.post(f"{_PREFIX}/v2/{{path:path}}", Access.ENDPOINT_KEY, Right.DEPLOY)
async def ask(call: Call, request: Request) -> Response:
    """Ask an endpoint for a prediction, or about itself."""
    assert call.forwarder is not None  # the service has one
    name = call.path["name"]
    path = request.scope["raw_path"].decode("latin-1").removeprefix(f"/endpoints/{name}")
    try:
        return await call.forwarder.forward(name, path, request)
    except AmlStoreError as error:
        answer = error_answer(Area.ROOT, error, "")
        answer.headers.update(SAFETY_HEADERS)
        return answer
