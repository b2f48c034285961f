"""The ASGI application of a worker: routes, keys, limits, answers. Plain functions on plain dicts, as it is measured.

No route answers without a key but those of health. What isn't a prediction is answered at once, whatever the model
does.
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from mlflow_amlstore import __version__
from mlflow_amlstore.errors import (
    AmlStoreError,
    ContentTypeNotSupported,
    InvalidValue,
    ModelFailed,
    NotFound,
    PayloadTooLarge,
    RequestTimedOut,
    ServiceBusy,
    TokenRefused,
)
from mlflow_amlstore.scoring import metrics, payloads, swagger
from mlflow_amlstore.scoring.batching import Batches
from mlflow_amlstore.scoring.deployment import Deployment, Keys
from mlflow_amlstore.scoring.inputs import known_params
from mlflow_amlstore.scoring.metrics import Block
from mlflow_amlstore.scoring.model import Model
from mlflow_amlstore.scoring.predictions import Predictions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_TIMEOUT_S = 30.0
_MAX_ID = 100  # characters of x-request-id, as Azure ML's server has it
_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_SERVER = f"amlstore/{__version__}".encode()
_TYPES = "application/json or text/csv"
_BEARER = (b"www-authenticate", b"Bearer")
_log = logging.getLogger(__name__)


class _Gone(Exception):
    """The client has gone away before its request was whole."""


class App:
    """One deployment's answers."""

    def __init__(
        self, deployment: Deployment, model: Model, keys: Keys | None, block: Block, retire: Callable[[], None]
    ) -> None:
        self._deployment, self._model, self._keys, self._block = deployment, model, keys, block
        self.predictions = Predictions(
            model,
            block,
            concurrency=deployment.concurrency,
            queue_length=deployment.queue_length,
            limit_s=deployment.predict_limit_s,
            retire=retire,
        )
        self._batches: Batches | None = None
        if deployment.max_batch_size > 1:
            self._batches = Batches(
                self.predictions,
                block,
                max_size=deployment.max_batch_size,
                max_latency_s=deployment.max_latency_ms / 1000,
                queue_length=deployment.queue_length,
            )
        self.is_draining = False
        """Each answer is its connection's last."""
        self.is_closed = False
        """What still comes is answered 503."""
        self._params = known_params(deployment.signature)
        self._number = itertools.count(1)
        self._ids = os.urandom(8).hex()
        v2 = f"/v2/models/{deployment.model_name}"
        versioned = f"{v2}/versions/{deployment.model_version}"
        serving = f"/v1/models/{deployment.model_name}"
        asked_for_v2 = [f"{path}/infer" for path in (v2, versioned)]
        asked_as_serving = [f"{serving}:predict", f"{serving}/versions/{deployment.model_version}:predict"]
        self._scores: dict[str, dict[str, bool]] = {
            "/score": {},
            "/invocations": {},
            "/score:predict": {"is_serving": True},
            **{path: {"is_v2": True} for path in asked_for_v2},
            **{path: {"is_serving": True} for path in asked_as_serving},
        }
        """How a body is read, by the paths that predict."""
        self._shown: dict[str, Callable[[Message], tuple[int, bytes, bytes]]] = {
            "/swagger.json": self._swagger,
            "/metrics": self._metrics,
            "/version": lambda _: (200, _TEXT, _SERVER),
            "/v2": self._v2_server,
            **dict.fromkeys((v2, versioned), self._v2_model),
        }
        health = (200, b"text/html; charset=utf-8", b"Healthy")
        self._health: dict[str, tuple[int, bytes, bytes]] = {
            **dict.fromkeys(("/", "/health", "/ping"), health),
            "/v2/health/live": (200, _JSON, b'{"live":true}'),
            **dict.fromkeys(("/v2/health/ready", f"{v2}/ready", f"{versioned}/ready"), (200, _JSON, b'{"ready":true}')),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing is raised: what goes wrong is a status and a sentence."""
        began = time.perf_counter()
        headers = dict(scope["headers"])
        path: str = scope["path"]
        more: Headers = []
        is_score = path in self._scores
        try:
            asked = headers.get(b"x-request-id")
            if asked is not None and len(asked) > _MAX_ID:
                headers.pop(b"x-request-id")
                refused = InvalidValue(
                    "x-request-id", asked[:10].decode("latin-1") + "…", f"must be at most {_MAX_ID} characters"
                )
                refused.http_status = 431
                raise refused
            if not is_score:
                status, kind, body = self._other(scope, path, headers)
            else:
                status, kind = 200, _JSON
                body = await self._score(scope, path, headers, receive, more)
        except _Gone:
            return
        except AmlStoreError as error:
            status, kind = error.http_status, _JSON
            body = self._refusal(error, path, more)
        except Exception as error:
            _log.exception("A request failed for a reason of this server's own")
            status, kind = 500, _JSON
            body = self._refusal(ModelFailed(error), path, more)
        request_id = headers.get(b"x-request-id") or f"{self._ids}{next(self._number):016x}".encode()
        more += (
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id),
            (b"x-ms-request-id", request_id),
            (b"x-ms-server-version", _SERVER),
        )
        for name in (b"x-ms-client-request-id", b"traceid"):
            if name in headers:
                more.append((name, headers[name]))
        if self.is_draining:
            more.append((b"connection", b"close"))
        if is_score:  # before it is sent: who has the answer finds it counted, though the worker dies right then
            self._block.answered(status, time.perf_counter() - began)
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": body})

    async def _score(
        self, scope: Message, path: str, headers: dict[bytes, bytes], receive: Receive, more: Headers
    ) -> bytes:
        """The answer to a request for a prediction."""
        began = time.perf_counter()
        if scope["method"] != "POST":
            raise NotFound("route", f"{scope['method']} {path}", "Predictions are asked for with POST")
        self._check_key(headers)
        if self.is_closed:
            raise ServiceBusy("this deployment is being stopped")
        kind = headers.get(b"content-type", _JSON)
        is_csv = False
        if kind != _JSON:
            kind = kind.partition(b";")[0].strip().lower()
            is_csv = kind == b"text/csv"
            if not is_csv and kind != _JSON and not kind.endswith(b"+json"):
                raise ContentTypeNotSupported("Content-Type", kind.decode("latin-1"), _TYPES)
        if headers.get(b"content-encoding", b"identity") != b"identity":
            said = headers[b"content-encoding"].decode("latin-1")
            raise ContentTypeNotSupported("Content-Encoding", said, "bodies are sent as they are")
        body = await self._body(headers, receive)
        was_read = time.perf_counter()
        request = payloads.read(body, is_csv=is_csv, **self._scores[path])
        method = self._method(request)
        if request.params:
            self._check_params(request.params)
        checked = self._model.inputs.check(request)
        was_checked = time.perf_counter()
        predictions, params = self.predictions, request.params
        try:
            if self._batches is not None and self._batches.takes(checked, params):
                result = await self._batches.predict(checked, method)
            elif predictions.is_fast(checked.rows):
                result = predictions.now(checked, method, params)
            else:
                result = await predictions.soon(checked, method, params)
        except ModelFailed as error:
            _log.error("The model failed", exc_info=error.__cause__)
            raise
        was_predicted = time.perf_counter()
        deployment = self._deployment
        try:
            written = payloads.answer(
                request, result, method, model=deployment.model_name, version=deployment.model_version
            )
        except Exception as error:  # a value that JSON has nothing for
            raise ModelFailed(error) from error
        took = f"{(was_predicted - was_checked) * 1000:.3f}".encode()
        more += ((b"x-ms-run-function-failed", b"False"), (b"x-ms-run-fn-exec-ms", took))
        self._block.predicted(
            checked.rows,
            was_read - began,
            was_checked - was_read,
            was_predicted - was_checked,
            time.perf_counter() - was_predicted,
        )
        return written

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._deployment.max_body_bytes
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said) > limit:
            raise PayloadTooLarge(limit)  # what still comes of it isn't kept: the server drops it
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        is_late = loop.call_later(BODY_TIMEOUT_S, task.cancel)
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                body = await self._rest(message, body, limit, receive)
            elif message["type"] != "http.request":
                raise _Gone
        except asyncio.CancelledError:
            if loop.time() < is_late.when():  # somebody else ends it
                raise
            raise RequestTimedOut(BODY_TIMEOUT_S) from None
        finally:
            is_late.cancel()
        if len(body) > limit:
            raise PayloadTooLarge(limit)
        return body

    async def _rest(self, message: Message, first: bytes, limit: int, receive: Receive) -> bytes:
        """A body of several parts."""
        chunks, size = [first], len(first)
        while message.get("more_body"):
            message = await receive()
            if message["type"] != "http.request":
                raise _Gone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise PayloadTooLarge(limit)
        return b"".join(chunks)

    def _method(self, request: payloads.Request) -> str:
        """The method that a request means. Raises InvalidValue, which lists those that there are."""
        methods = self._model.methods
        method = request.method
        if method is None:
            if request.style == "classic":
                return self._model.classic_method
            if request.style == "v2" and len(request.outputs) == 1 and request.outputs[0] in methods:
                return request.outputs[0]
            return methods[0]
        if method not in methods:
            raise InvalidValue("method", method, f"isn't a method of this model; it has {', '.join(methods)}")
        return method

    def _check_params(self, params: dict[str, Any]) -> None:
        for name in params:
            if name not in self._params:
                known = f"one of {', '.join(self._params)}" if self._params else "left out: this model takes none"
                raise InvalidValue(f"params.{name}", params[name], f"must be {known}")

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        if self._keys is None:
            return
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise TokenRefused(
                "No key came with this request", "Send one of the endpoint's: `Authorization: Bearer KEY`"
            )
        if not self._keys.opens(authorization):
            raise TokenRefused(
                "The key isn't one of this endpoint's", "Ask whoever deployed it for one: keys are changed"
            )

    def _other(self, scope: Message, path: str, headers: dict[bytes, bytes]) -> tuple[int, bytes, bytes]:
        """The answer to a request for anything but a prediction."""
        method = scope["method"]
        if method in ("GET", "HEAD") and path in self._health:
            if self.is_draining and path != "/v2/health/live":
                raise ServiceBusy("this deployment is being stopped")
            return self._health[path]
        self._check_key(headers)
        if method in ("GET", "HEAD") and path in self._shown:
            return self._shown[path](scope)
        raise NotFound("route", f"{method} {path}", f"Predictions are asked for with POST {', '.join(self._scores)}")

    def _refusal(self, error: AmlStoreError, path: str, more: Headers) -> bytes:
        """A refusal's body, in the shape that the path's clients read, and its headers."""
        if isinstance(error, TokenRefused):
            more.append(_BEARER)
        after = getattr(error, "retry_after_s", None)
        if after is not None:
            more.append((b"retry-after", str(after).encode()))
        if path in self._scores:
            more.append((b"x-ms-run-function-failed", b"True" if error.http_status >= 500 else b"False"))
        if path.startswith(("/v2", "/v1")) or path.endswith(":predict"):
            return payloads.encode({"error": str(error)})
        return payloads.encode({"error_code": error.mlflow_code, "message": str(error)})

    def _swagger(self, scope: Message) -> tuple[int, bytes, bytes]:
        (version,) = parse_qs(scope["query_string"].decode("latin-1")).get("version", ["2"])[:1]
        if version not in swagger.VERSIONS:
            raise NotFound("swagger version", version, f"There are {', '.join(swagger.VERSIONS)}")
        return 200, _JSON, swagger.document(self._deployment, self._model, version)

    def _metrics(self, scope: Message) -> tuple[int, bytes, bytes]:
        labels = f'endpoint="{self._deployment.endpoint}",deployment="{self._deployment.number}"'
        return 200, metrics.CONTENT_TYPE, self._block.board.text(labels)

    def _v2_server(self, scope: Message) -> tuple[int, bytes, bytes]:
        return 200, _JSON, payloads.encode({"name": "amlstore", "version": __version__, "extensions": []})

    def _v2_model(self, scope: Message) -> tuple[int, bytes, bytes]:
        deployment, model = self._deployment, self._model
        columns = model.inputs.columns()
        inputs = [
            {
                "name": tensor.name or "input-0",
                "datatype": payloads.v2_type(tensor.dtype),
                "shape": list(tensor.shape),
            }
            for tensor in model.inputs.tensors()
        ]
        about: dict[str, Any] = {
            "name": deployment.model_name,
            "versions": [str(deployment.model_version)],
            "platform": deployment.framework.lower(),
            "inputs": inputs,
            "outputs": [{"name": method, "datatype": "FP64", "shape": [-1]} for method in model.methods],
        }
        if columns:
            about["parameters"] = {"columns": [column.name for column in columns]}
        return 200, _JSON, payloads.encode(about)
