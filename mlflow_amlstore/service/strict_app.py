"""The service as a stand-in for Azure ML (`amlstore serve --parity`): a layer around its application.

The layer limits the pace, gives MLflow's errors Azure's form, and leaves out the header that says that the service has
no limits. What requests may contain is checked by the route table (`strictness`), and what runs may have by their
records (`limited_records`).
"""

import json
import math
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_amlstore.protocol.limits import field_over_limit
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.app import HAS_NO_LIMITS, ROUTES, Settings, make_app
from mlflow_amlstore.service.limited_records import limited
from mlflow_amlstore.service.strictness import Strictness


def make_strict_app(records: RecordStore, settings: Settings, strictness: Strictness) -> ASGIApp:
    """Make the service over a record store, as strict as `strictness` says. Closing the store is up to the caller."""
    if strictness.limits is not None:
        records = limited(records, strictness.limits)
    return _StrictApp(make_app(records, settings, tuple(strictness.routes(ROUTES))), strictness)


class _StrictApp:
    def __init__(self, app: ASGIApp, strictness: Strictness) -> None:
        self._app = app
        # A workspace tells of its limits by not telling that it has none.
        self._headers_left_out = () if strictness.limits is None else (HAS_NO_LIMITS,)
        self._requests_per_s = strictness.requests_per_s or math.inf
        self._second, self._requests_in_second = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._is_throttled():
            body = _azure_error(429, "RESOURCE_EXHAUSTED", "Too many requests. Try again in a second", "")
            await Response(body, 429, {"Retry-After": "1"}, "application/json")(scope, receive, send)
        else:
            await self._app(scope, receive, self._answer(send))

    def _is_throttled(self) -> bool:
        """Whether this second has had its requests."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._requests_in_second = second, 0
        self._requests_in_second += 1
        return self._requests_in_second > self._requests_per_s

    def _answer(self, send: Send) -> Send:
        """ASGI's `send` for one answer. An error in JSON is held back until its body comes, which comes whole."""
        held: list[Message] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair not in self._headers_left_out]
                if message["status"] >= 400 and (b"content-type", b"application/json") in message["headers"]:
                    held.append(message)
                    return
            elif held:
                message["body"] = _as_azure_has_it(held[0], message["body"])
                await send(held[0])
            await send(message)

        return answer


def _as_azure_has_it(start: Message, body: bytes) -> bytes:
    """The body of an error whose answer starts so, with MLflow's form turned into Azure's; `start` is changed too."""
    headers, error = dict(start["headers"]), json.loads(body)
    code = error.get("error_code")
    if code == "ENDPOINT_NOT_FOUND":  # without a word, as people saw it (azure-sdk-for-python issue 44896)
        body = b""
        del headers[b"content-type"]
    elif code is not None:
        body = _azure_error(start["status"], code, error["message"], headers[b"x-request-id"].decode())
    headers[b"content-length"] = str(len(body)).encode()
    start["headers"] = list(headers.items())
    return body


def _azure_error(status: int, mlflow_code: str, message: str, request_id: str) -> bytes:
    """An error as Azure ML's MLflow endpoints tell it, whose fields are spelled in three ways."""
    code = "ServiceError" if status >= 500 else "UserError"
    if field_over_limit(message) is not None:
        code = "ValidationError"
    answer = {
        "Error": {
            "Code": code,
            "Message": message,
            "Severity": None,
            "Target": None,
            "Details": [],
            "InnerError": None,
        },
        "Correlation": {"operation": request_id, "request": request_id},
        "statusCode": status,
        "error_code": mlflow_code,
        "Environment": "local",
        "Location": "local",
        "ComponentName": "mlflow",
    }
    return json.dumps(answer).encode()
