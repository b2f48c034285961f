"""Forwarding a request for a prediction to the host that runs the endpoint, and its answer back.

aiohttp does it: it keeps connections to hosts open, streams both ways, and reads HTTP in C. httpx, in Python, takes
several times as long for a request, and connections of our own over httptools would be one more HTTP client to keep.
It is imported by the first request.

What travels is bounded by a few buffers for each request. No cookie passes in either direction, nor a token of the
service: a model must neither act in a user's name, nor set what Studio reads.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from mlflow_amlstore.errors import (
    AmlStoreError,
    BadRequest,
    HostSilent,
    HostUnreachable,
    NotAllowed,
    NotFound,
    ServiceBusy,
)
from mlflow_amlstore.records.endpoint_rules import check_endpoint_name
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.auth import Tokens
from mlflow_amlstore.service.execution.told_endpoints import is_loopback, living_host
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.sessions import FORM_TOKEN_HEADER

if TYPE_CHECKING:
    import aiohttp

SAFETY_HEADERS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
"""Of every answer: whatever a model sends, a browser runs it in no place of Studio's."""
_LOOKED_EVERY_S = 0.5  # for where an endpoint is
_CONNECT_S = 5.0
_LONGER_THAN_A_PREDICTION_S = 60.0  # a request may wait in the endpoint's queue first
_IDLE_S = 60.0  # shorter than a scoring process keeps an idle connection
_RETRY_AFTER_S = 2
_WHOLE_BYTES = 1024 * 1024  # an answer of at most so many is sent at once, which costs less
_PIECE_BYTES = 64 * 1024
_HOP_BY_HOP = frozenset(
    (
        "connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
        "upgrade"
    ).split()
)
_NOT_SENT_ON = _HOP_BY_HOP | {"cookie", "host", "expect", FORM_TOKEN_HEADER.decode().lower()}
_NOT_SENT_BACK = _HOP_BY_HOP | frozenset(
    (
        "set-cookie clear-site-data strict-transport-security service-worker-allowed alt-svc nel report-to server date "
        "content-security-policy content-security-policy-report-only x-content-type-options x-request-id"
    ).split()
)


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where an endpoint answers, whether it wants a key, how many seconds it may take, and which deployments serve."""

    address: str
    auth: bool
    limit_s: float
    serving: tuple[tuple[int, int], ...]


class Forwarder:
    """Forwards requests to the hosts of one workspace's endpoints. For the event loop's thread."""

    def __init__(self, records: RecordStore, tokens: Tokens) -> None:
        self._records, self._tokens = records, tokens
        self._known: dict[str, tuple[_Destination, float]] = {}
        self._closing: set[asyncio.Future[None]] = set()  # else nobody would hold them
        self._sessions: dict[str, tuple[_Destination, aiohttp.ClientSession]] = {}

    async def close(self) -> None:
        """Close the connections to hosts."""
        for _, session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def forward(self, name: str, path: str, request: Request) -> Response:
        """Return the answer of an endpoint to a request for a path of it.

        Raises NotFound, ServiceBusy while nobody runs it, HostUnreachable, HostSilent, NotAllowed, BadRequest.
        """
        import aiohttp

        destination = await self._destination(name)
        if not destination.auth and (request.client is None or not is_loopback(request.client.host)):
            raise NotAllowed(
                f"The endpoint {name} answers without a key, and so to users of its service's machine alone"
            )
        query = request.scope["query_string"].decode("latin-1")
        target = f"{destination.address}{path}{'?' + query if query else ''}"
        data: Any = None
        if request.method not in ("GET", "HEAD"):
            data = await _body(request)
        try:
            answer = await self._session_of(name, destination).request(
                request.method,
                _raw_url(target),
                headers=self._headers_on(request),
                data=data,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=destination.limit_s),
            )
            return await _back(answer, is_head=request.method == "HEAD")
        except ClientDisconnect:
            raise BadRequest("The client went away before its request was whole") from None
        except (asyncio.TimeoutError, aiohttp.ServerTimeoutError):  # Python 3.10 has two
            raise HostSilent(name, destination.limit_s) from None
        except (aiohttp.ClientError, OSError) as error:
            self._known.pop(name, None)
            raise HostUnreachable(name, type(error).__name__) from None

    async def _destination(self, name: str) -> _Destination:
        known = self._known.get(name)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        self._known.pop(name, None)
        destination = await on_thread(self._look, name)
        if len(self._known) > 1000:
            self._known.clear()
        self._known[name] = (destination, time.monotonic() + _LOOKED_EVERY_S)
        return destination

    def _look(self, name: str) -> _Destination:
        try:
            check_endpoint_name(name)
        except AmlStoreError:
            raise NotFound("endpoint", name) from None
        record = self._records.endpoints.get(name)
        host = living_host(record)
        if host is None:
            raise ServiceBusy(f"nobody runs the endpoint {name} at the moment", _RETRY_AFTER_S)
        longest_s = max((record.deployment(number).spec.predict_limit_s for number in record.serving), default=0.0)
        limit_s = math.ceil(longest_s + _LONGER_THAN_A_PREDICTION_S)
        return _Destination(host.address, record.spec.auth, limit_s, tuple(sorted(record.serving.items())))

    def _session_of(self, name: str, destination: _Destination) -> "aiohttp.ClientSession":
        """The connections to an endpoint. An open one belongs to a deployment: other deployments get new ones."""
        import aiohttp

        known = self._sessions.get(name)
        if known is not None and known[0] == destination:
            return known[1]
        if known is not None:
            self._close_later(*known)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        self._sessions[name] = destination, session
        return session

    def _close_later(self, destination: _Destination, session: "aiohttp.ClientSession") -> None:
        """Close connections once what is under way on them has been answered, or has taken too long."""

        def close() -> None:
            closing = asyncio.ensure_future(session.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

        asyncio.get_running_loop().call_later(destination.limit_s, close)

    def _headers_on(self, request: Request) -> list[tuple[str, str]]:
        named = {name.strip().lower() for name in request.headers.get("connection", "").split(",")}
        return [
            (name, value)
            for name, value in request.headers.items()
            if name not in _NOT_SENT_ON
            and name not in named
            and not (name == "authorization" and self._tokens.has_issued(value.partition(" ")[2].strip()))
        ]


async def _body(request: Request) -> bytes | AsyncIterator[bytes]:
    """A body that came at once, or what gives the rest piece by piece."""
    pieces = request.stream()
    first = await anext(pieces, b"")
    second = await anext(pieces, b"") if first else b""  # an empty piece is the end
    return _all_of(first, second, pieces) if second else first


async def _all_of(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for piece in rest:
        if piece:
            yield piece


async def _back(answer: "aiohttp.ClientResponse", *, is_head: bool) -> Response:
    length = answer.content_length
    if is_head or (length is not None and length <= _WHOLE_BYTES):
        body = await answer.read()
        response = Response(body, answer.status)
    else:
        response = StreamingResponse(_pieces(answer), answer.status)
    raw = [
        (name.lower(), value)
        for name, value in answer.raw_headers
        if name.lower().decode("latin-1") not in _NOT_SENT_BACK
    ]
    raw += [(name.lower().encode(), value.encode()) for name, value in SAFETY_HEADERS.items()]
    response.raw_headers = raw
    return response


async def _pieces(answer: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_chunked(_PIECE_BYTES):
            yield piece
    finally:
        answer.close()  # where the client went away the rest isn't read


def _raw_url(target: str) -> Any:
    """A URL that is sent as it came."""
    from yarl import URL

    return URL(target, encoded=True)
