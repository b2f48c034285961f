"""A service as strict as Azure ML: its application in a layer that answers no more, and no better, than the cloud."""

import json
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_amlstore.protocol.limits import LIMITS_HEADER, field_over_limit
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.app import ROUTES, Settings, make_app
from mlflow_amlstore.service.strictness import Strictness

_RETRY_AFTER_S = 1


def make_strict_app(records: RecordStore, settings: Settings, strictness: Strictness) -> ASGIApp:
    """The service over a record store, which stays the caller's to close, as strict as it's told to be."""
    return _StrictApp(make_app(records, settings, tuple(strictness.routes(ROUTES))), strictness)


class _StrictApp:
    def __init__(self, app: ASGIApp, strictness: Strictness) -> None:
        self._app = app
        self._has_limits = strictness.limits is not None
        self._requests_per_s = strictness.requests_per_s
        self._second = 0
        self._requests_in_second = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._is_throttled():
            message = f"Too many requests. Try again after {_RETRY_AFTER_S} s"
            body = _azure_error(429, "RESOURCE_EXHAUSTED", message, "")
            headers = {"Retry-After": str(_RETRY_AFTER_S)}
            await Response(body, 429, headers, "application/json")(scope, receive, send)
        else:
            await self._app(scope, receive, _Answer(send, self._has_limits).send)

    def _is_throttled(self) -> bool:
        """Whether this second has had its requests."""
        if self._requests_per_s is None:
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._requests_in_second = second, 0
        self._requests_in_second += 1
        return self._requests_in_second > self._requests_per_s


class _Answer:
    """One answer on its way out. MLflow's form of an error becomes Azure's."""

    def __init__(self, send: Send, has_limits: bool) -> None:
        self._send = send
        self._has_limits = has_limits
        self._held: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """ASGI's `send`. An error in JSON is held back until its body is whole."""
        if message["type"] == "http.response.start":
            if self._has_limits:  # which is told by not telling that there are none
                headers = [pair for pair in message["headers"] if pair[0] != LIMITS_HEADER.encode()]
                message = {**message, "headers": headers}
            if message["status"] >= 400 and (b"content-type", b"application/json") in message["headers"]:
                self._held = message
                return
        if self._held is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._send_error(self._held)

    async def _send_error(self, start: Message) -> None:
        headers, body, error = dict(start["headers"]), self._body, json.loads(self._body)
        code = error.get("error_code")
        if code == "ENDPOINT_NOT_FOUND":  # without a word, as people saw it (azure-sdk-for-python issue 44896)
            body = b""
            del headers[b"content-type"]
        elif code is not None:
            request_id = headers[b"x-request-id"].decode()
            body = _azure_error(start["status"], code, error["message"], request_id)
        headers[b"content-length"] = str(len(body)).encode()
        await self._send({**start, "headers": list(headers.items())})
        await self._send({"type": "http.response.body", "body": body})


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
