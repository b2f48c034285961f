"""One call of a workspace service's JSON API: tried again while that makes sense, its errors raised as ours."""

import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from mlflow_amlstore.client.http import roles
from mlflow_amlstore.client.http.backoff import RETRIED_STATUSES, THROTTLE, THROTTLED, Backoff, retry_after_s
from mlflow_amlstore.client.http.transport import USER_AGENT, Answer, NoAnswer, send
from mlflow_amlstore.errors import InvalidValue, ServiceError, ServiceUnreachable, TokenRefused
from mlflow_amlstore.protocol.limits import LIMITS_HEADER, NO_LIMITS
from mlflow_amlstore.workspace.redaction import redact

# A 500 with a code of the service's own is a fault in it more often than a passing trouble.
_RETRIED_CODES_OF_500 = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"})
_MAX_RETRIES_OF_500 = 5
_MAX_SHOWN_CHARACTERS = 200
_BASE_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
ERROR_CODE_HEADER = "x-amlstore-error-code"  # MLflow's code, where an answer's own form has no field for it
CODES_BY_STATUS = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    408: "TEMPORARILY_UNAVAILABLE",
    409: "BAD_REQUEST",
    411: "BAD_REQUEST",
    412: "BAD_REQUEST",
    413: "BAD_REQUEST",
    416: "BAD_REQUEST",
    429: "RESOURCE_EXHAUSTED",
    501: "NOT_IMPLEMENTED",
    502: "TEMPORARILY_UNAVAILABLE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "TEMPORARILY_UNAVAILABLE",
    507: "RESOURCE_EXHAUSTED",
}


class BearerRefused(Exception):
    """The service answered 401; `problem` is its sentence, without the advice that ours gives again."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class ServiceCall:
    """One logical call: what is sent, under one request id however often, and how long it is tried."""

    def __init__(
        self,
        method: str,
        service_url: str,
        path: str,
        json_body: Any = None,
        params: Mapping[str, Any] | None = None,
        backoff: Backoff | None = None,
        request_id: str | None = None,
    ) -> None:
        """`json_body` is what JSON can hold, or already its bytes. Raises InvalidValue for what it can't."""
        self._method, self._service_url, self._path = method, service_url, path
        self._target = f"{path}?{_query(params)}" if params else path
        self._body = json_body if json_body is None or isinstance(json_body, bytes) else _encoded(json_body)
        self._backoff = backoff
        self.has_no_limits = False
        """Whether the service said so in its answer (`protocol.limits`)."""
        request_id = request_id or uuid.uuid4().hex
        self._headers = {**_BASE_HEADERS, "X-Request-Id": request_id}
        if self._body is not None:
            self._headers["Content-Type"] = "application/json"
        if method != "GET":
            self._headers["Idempotency-Key"] = request_id

    def send(self, bearer: str | None) -> Any:
        """Return the answer's JSON; `bearer` None for what is public.

        Raises BearerRefused on 401, ServiceError with what the service says, ServiceUnreachable.
        """
        headers = self._headers
        if bearer is not None:
            if not bearer or not bearer.isascii() or any(map(str.isspace, bearer)) or not bearer.isprintable():
                raise TokenRefused("The token at hand is empty, or has characters that no token has")
            headers["Authorization"] = f"Bearer {bearer}"
        while True:
            THROTTLE.wait(self._service_url)
            try:
                answer = send(self._method, self._service_url, self._target, headers, self._body)
            except NoAnswer as error:
                if error.is_lasting or not self._pause(error.problem):
                    raise ServiceUnreachable(self._service_url, error.problem) from None
                continue
            if 200 <= answer.status < 300:
                self.has_no_limits = answer.headers.get(LIMITS_HEADER) == NO_LIMITS
                return self._parsed(answer)
            refusal = self._error_of(answer)
            asked_s, is_throttled = retry_after_s(answer.headers), answer.status == THROTTLED
            if is_throttled and asked_s:
                THROTTLE.slow_down(self._service_url, asked_s)
            if not self._is_worth_retrying(answer, refusal) or not self._pause(
                f"it answered {answer.status}", asked_s, is_throttled
            ):
                raise refusal

    def _pause(self, problem: str, asked_s: float | None = None, is_throttled: bool = False) -> bool:
        if self._backoff is None:
            self._backoff = Backoff(f"The workspace service {self._service_url}")
        return self._backoff.pause(problem, asked_s, is_throttled=is_throttled)

    def _is_worth_retrying(self, answer: Answer, error: Exception) -> bool:
        if answer.status not in RETRIED_STATUSES:
            return False
        if answer.status != 500 or not isinstance(error, ServiceError):
            return True
        tried = self._backoff.retries if self._backoff else 0
        return error.error_code in _RETRIED_CODES_OF_500 and tried < _MAX_RETRIES_OF_500

    def _parsed(self, answer: Answer) -> Any:
        if not answer.body:
            return {}
        try:
            return json.loads(answer.body)
        except ValueError:
            raise ServiceUnreachable(self._service_url, _not_ours(answer)) from None

    def _error_of(self, answer: Answer) -> Exception:
        code, message = _code_and_message(answer)
        if answer.status == 401:
            return BearerRefused(message.removesuffix(f". {TokenRefused.WAY_OUT}") or "it answered 401")
        if not message and answer.status == 404 and not answer.body:
            message = f"It has no endpoint {self._method} {redact(self._path)}"  # as Azure ML says it, without a word
        if not message or 300 <= answer.status < 400:
            return ServiceUnreachable(self._service_url, _not_ours(answer))
        if answer.status == 403 and (role := roles.advice(message)):
            message = f"{message.rstrip('.')}. {role}"
        code = code or answer.headers.get(ERROR_CODE_HEADER, "")
        return ServiceError(code or CODES_BY_STATUS.get(answer.status, "INTERNAL_ERROR"), message, answer.status)


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def _query(params: Mapping[str, Any]) -> str:
    return urlencode(
        [
            (name, ("true" if value else "false") if isinstance(value, bool) else value)
            for name, given in params.items()
            for value in (given if isinstance(given, list | tuple) else [given])
            if value is not None
        ]
    )


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidValue("request body", type(body).__name__, f"must be what JSON can hold ({error})") from None


def _code_and_message(answer: Answer) -> tuple[str, str]:
    """MLflow's code, where the answer has one, and the message. Both are empty for an answer of an unknown form.

    The known forms are MLflow's `{error_code, message}`, Azure's `{error: {code, message}}`, that of Azure ML's MLflow
    endpoints, `{Error: {Code, Message}, error_code}`, and model management's `{code, statusCode, message}`.
    """
    try:
        body = json.loads(answer.body)
        if isinstance(body.get("error"), dict):
            return "", redact(str(body["error"]["message"]))
        if isinstance(body.get("Error"), dict):
            return str(body.get("error_code", "")), redact(str(body["Error"]["Message"]))
        code = "" if "statusCode" in body else str(body["error_code"])
        return code, redact(str(body["message"]))
    except (ValueError, KeyError, AttributeError):
        return "", ""


def _not_ours(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return f"it answered {answer.status}, a redirect, which is not followed with a token"
    kind = str(answer.headers.get("Content-Type", "nothing")).partition(";")[0][:_MAX_SHOWN_CHARACTERS]
    return f"it answered {answer.status} with {kind} where JSON was due; there may be a proxy between"
