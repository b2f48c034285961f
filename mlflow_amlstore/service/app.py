"""The ASGI application: every request passes here, in this order.

Host and origin → route → credential → rights → body → handler → answer, a log line and a count. Handlers that read run
on a pool of threads, those that write in groups (`writer`), those that stream on the event loop.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, cast, get_origin
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_amlstore.errors import (
    AmlStoreError,
    BadRequest,
    InvalidState,
    NotAllowed,
    TokenRefused,
    WorkspaceGone,
    WorkspaceNotFound,
)
from mlflow_amlstore.protocol.limits import LIMITS_HEADER, NO_LIMITS
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.runner import deaths
from mlflow_amlstore.service import (
    arm,
    auth_routes,
    discovery,
    execution,
    files,
    logs,
    mlflow_api,
    monitoring,
    openapi,
    run_history,
    run_tokens,
)
from mlflow_amlstore.service.access import Access, Caller, TokenUse
from mlflow_amlstore.service.acting import acting_for
from mlflow_amlstore.service.addresses import tracking_root
from mlflow_amlstore.service.auth import Tokens, bearer_of
from mlflow_amlstore.service.body import Body, BodyMemory, decode_json, decode_query, read_body, timed
from mlflow_amlstore.service.error_answers import InternalError, error_answer
from mlflow_amlstore.service.files.containers import container_of_uri
from mlflow_amlstore.service.router import Router
from mlflow_amlstore.service.routing import Area, Call, Content, Route
from mlflow_amlstore.service.sessions import (
    FORM_TOKEN_HEADER,
    SIGN_IN,
    check_form_token,
    session_cookie,
    session_in,
)
from mlflow_amlstore.service.signed_urls import UrlSigner
from mlflow_amlstore.service.uris import AzureUris, ProxyUris, Uris
from mlflow_amlstore.service.writer import GroupWriter

_SHORT_READS, _LONG_READS = 8, 4  # at once; a short read doesn't wait for long ones
_LONG_WRITE_BYTES = 256 * 1024  # bodies of which are written on a thread: it would hold up the loop
_FORGET_EVERY_S = 3600.0
_TAKE_BACK_EVERY_S = 1.0
_HOST = re.compile(r"([\w.\-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", re.ASCII)
_LAST_PORT = 65_535
_REQUEST_ID = re.compile(rb"[\w.\-]{1,64}")
_REPEATED = (
    Area.MLFLOW,
    Area.METRIC,
    Area.MODEL_MANAGEMENT,
)  # where a write may be sent again; others answer with what mustn't be kept
_NAN_IN_JSON = (Area.METRIC, Area.HISTORY)  # Azure ML's SDK sends bare NaN and Infinity there
_BODY_FROM_QUERY = ("GET", "HEAD")
# Where two of these differ, whoever stands between (a proxy) may go by the other one.
_GIVEN_ONCE = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"idempotency-key")
HAS_NO_LIMITS = (LIMITS_HEADER.encode(), NO_LIMITS.encode())


ROUTES: tuple[Route, ...] = tuple(
    route
    for routes in (
        *mlflow_api.ROUTES,
        *files.ROUTES,
        *run_history.ROUTES,
        *execution.ROUTES,
        auth_routes.ROUTES,
        discovery.ROUTES,
        arm.ROUTES,
        run_tokens.ROUTES,
        monitoring.ROUTES,
        openapi.ROUTES,
    )
    for route in routes
)
"""The whole route table."""


@dataclass(frozen=True)
class Settings:
    """What a service is told when it starts.

    `service_url` is where clients reach it, `allowed_hosts` the names of it that a Host header may have (lower case,
    without a port). Content URLs and tracking URIs live `token_lifetime_s`.
    """

    service_url: str
    workspace_name: str
    allowed_hosts: frozenset[str]
    secret: bytes = field(repr=False)
    token_lifetime_s: float = 3600.0


ErrorPage = Callable[[AmlStoreError, Scope, str], Response]
"""What a browser is answered: of an error, the request's scope and id."""


def make_app(
    records: RecordStore,
    settings: Settings,
    routes: tuple[Route, ...] = ROUTES,
    *,
    error_page: ErrorPage | None = None,
) -> ASGIApp:
    """Make the service over a record store. Closing the store is up to the caller.

    `error_page` answers errors to browsers, where the routes have pages.
    """
    return _Service(records, settings, routes, error_page)


class _Service:
    def __init__(
        self, records: RecordStore, settings: Settings, routes: tuple[Route, ...], error_page: ErrorPage | None
    ) -> None:
        self._error_page = error_page
        self._records = records
        self._settings = settings
        self._routes = routes
        self._router = Router(routes, settings.workspace_name)
        self._tokens = Tokens(records, settings.secret, settings.token_lifetime_s)
        self._signer = UrlSigner(settings.secret, settings.token_lifetime_s)
        self._writer = GroupWriter(records)
        self._readers = ThreadPoolExecutor(_SHORT_READS, thread_name_prefix="amlstore-reader")
        self._long_readers = ThreadPoolExecutor(_LONG_READS, thread_name_prefix="amlstore-long-reader")
        self._body_memory = BodyMemory()
        self._find_container = partial(container_of_uri, records)
        self._proxy_uris = ProxyUris(self._find_container)
        self._in_progress = 0
        monitoring.count_in_progress(lambda: self._in_progress)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise NotImplementedError(f"this service speaks HTTP, not {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._writer.start()
        regular = [
            asyncio.create_task(self._regularly(_FORGET_EVERY_S, self._records.forget_old_requests)),
            asyncio.create_task(self._regularly(_TAKE_BACK_EVERY_S, self._records.run_leases.take_back)),
            asyncio.create_task(self._regularly(deaths.LOOKED_EVERY_S, partial(deaths.look, self._records))),
        ]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for each in regular:
            each.cancel()
        await self._writer.stop()
        self._readers.shutdown()
        self._long_readers.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def _regularly(self, every_s: float, work: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.get_running_loop().run_in_executor(self._readers, work)
            except AmlStoreError as error:
                logs.log_error("", error)  # a full disk, say: the next time is early enough

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        request = _Request(self, scope, receive, headers)
        answered = _Answered(send, request_id)
        self._in_progress += 1
        try:
            await request.answer(answered)
        except WorkspaceNotFound as error:
            logs.log_error(request_id, error)
            await answered.instead(request.error_answer(WorkspaceGone(), request_id), scope, receive)
        except AmlStoreError as error:
            if request.area is Area.STUDIO and isinstance(error, InvalidState):
                error.http_status = HTTPStatus.CONFLICT  # MLflow's 500 is for its own clients
            if error.http_status >= 500:
                logs.log_error(request_id, error)
            await answered.instead(request.error_answer(error, request_id), scope, receive)
        except Exception as error:
            logs.log_error(request_id, error)
            await answered.instead(request.error_answer(InternalError(request_id), request_id), scope, receive)
        finally:
            self._in_progress -= 1
            seconds = time.perf_counter() - began
            monitoring.request_ended(request.route_name, answered.status, seconds)
            logs.log_request(
                request_id=request_id,
                method=scope["method"],
                path=scope["path"],
                status=answered.status,
                seconds=seconds,
                caller=request.caller.key_id if request.caller else "",
                sent_bytes=answered.sent_bytes,
            )

    async def _read(self, work: "Callable[[], bytes | Content]", *, is_long: bool) -> "bytes | Content":
        readers = self._long_readers if is_long else self._readers
        return await asyncio.get_running_loop().run_in_executor(readers, work)


class _Request:
    """One request on its way through the service; what is known of it so far is there for the log and for errors."""

    def __init__(self, service: _Service, scope: Scope, receive: Receive, headers: dict[bytes, bytes]) -> None:
        self._service = service
        self._scope = scope
        self._receive = receive
        self._headers = headers
        self.area = Area.ROOT
        self.route_name = "none"
        self.caller: Caller | None = None

    async def answer(self, answered: "_Answered") -> None:
        """Send the answer. Raises what the handler raises, and every refusal on the way to it."""
        service, scope, headers = self._service, self._scope, self._headers
        if len(headers) != len(scope["headers"]):
            _check_given_once(scope["headers"])
        base_url = self._checked_base_url()
        raw_path = scope.get("raw_path", b"").decode("latin-1")
        route, path, names_workspace = service._router.match(scope["method"], scope["path"], raw_path)
        self.area, self.route_name = route.area, f"{route.method} {route.path}"
        of_studio: dict[str, Any] = {}
        if route.area is Area.STUDIO:
            of_studio = self._studio(route, base_url, raw_path, answered)
            credential = ""
        else:
            credential = self._check_credential(route)
        call = Call(
            **of_studio,
            records=service._records,
            uris=self._uris(base_url, names_workspace),
            signer=service._signer,
            base_url=base_url,
            tokens=service._tokens,
            workspace_name=service._settings.workspace_name,
            routes=service._routes,
            path=path,
            caller=self.caller,
            credential=credential if route.access is Access.KEY else "",
        )
        if route.streams:
            response = await route.handler(call, Request(scope, timed(self._receive)))
            if scope["method"] == "HEAD":  # of a stream, which may have no end, nothing is made
                await answered.headers_of(response)
            else:
                await response(scope, self._receive, answered.send)
            return
        if not route.reads_body:
            await self._handle(route, call, b"", answered)
            return
        length = _text(headers.get(b"content-length"))
        taken_bytes = await service._body_memory.take(length, route.most_bytes)
        try:
            await self._handle(route, call, await read_body(self._receive, length, route.most_bytes), answered)
        finally:
            service._body_memory.give_back(taken_bytes)

    async def _handle(self, route: Route, call: Call, body: Body, answered: "_Answered") -> None:
        service, scope, headers = self._service, self._scope, self._headers
        apply = _prepared(route, call, body, scope["query_string"], _text(headers.get(b"content-type")))
        if not route.writes:
            await answered.whole(await service._read(apply, is_long=route.is_long))
            return
        # What writes answers with JSON, never with other content.
        apply = _for_caller(call, cast("Callable[[], bytes]", apply))
        repeated = headers.get(b"idempotency-key")
        if repeated is not None and route.area in _REPEATED:
            # With the whole request, so that a key given twice by mistake can't make another write disappear.
            target = (scope["method"].encode(), scope["path"].encode(), scope["query_string"])
            request_id = hashlib.sha256(b"\0".join((repeated, *target, body))).hexdigest()
            apply = _once(service._records, request_id, apply)
        is_long = route.is_long or len(body) > _LONG_WRITE_BYTES
        await answered.whole(await service._writer.write(apply, is_long=is_long))

    def _studio(self, route: Route, base_url: str, raw_path: str, answered: "_Answered") -> dict[str, Any]:
        """What a call of Studio's has besides. Raises TokenRefused, NotAllowed.

        The credential is the session's cookie, and a change comes with its page's form token; a program may send an
        access token instead.
        """
        query = self._scope["query_string"].decode("latin-1")
        call: dict[str, Any] = {"url": f"{raw_path}?{query}" if query else raw_path, "headers": self._headers}
        if route.access is Access.PUBLIC:
            return call
        tokens = self._service._tokens
        if b"authorization" in self._headers:
            self._check_credential(route)
            return call
        session = session_in(_text(self._headers.get(b"cookie")), base_url)
        self.caller = tokens.caller_of(session)
        if self.caller.use is not TokenUse.SESSION:
            raise TokenRefused("The cookie holds no session of Studio")
        if route.method not in _BODY_FROM_QUERY:
            check_form_token(tokens, session, _text(self._headers.get(FORM_TOKEN_HEADER)))
        route.check_rights(self.caller)
        longer = tokens.prolonged(session)
        if longer is not None:
            answered.add_header(b"set-cookie", session_cookie(longer.text, base_url).encode())
            session = longer.text
        return {**call, "form_token": tokens.form_token(session)}

    def error_answer(self, error: AmlStoreError, request_id: str) -> Response:
        """What the client is told of an error: a browser that opens a page gets one."""
        page = self._service._error_page
        accepted = _text(self._headers.get(b"accept")) or ""
        if page is not None and "text/html" in accepted and self.area in (Area.STUDIO, Area.ROOT):
            return page(error, self._scope, request_id)
        if isinstance(error, TokenRefused) and self.area is Area.STUDIO and b"authorization" not in self._headers:
            error = TokenRefused(error.problem, SIGN_IN)
        return error_answer(self.area, error, request_id)

    def _checked_base_url(self) -> str:
        """Where the client reaches the service. Raises NotAllowed for a name that isn't its own (DNS rebinding)."""
        settings = self._service._settings
        host = _text(self._headers.get(b"host")) or ""
        origin = _text(self._headers.get(b"origin"))
        name = _host_name(host)
        if name not in settings.allowed_hosts:
            if not host:
                raise NotAllowed("The header Host must name this service, and is empty or missing")
            raise NotAllowed(f"The Host {host!r:.100} is not a name of this service; add it with --allowed-host")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise NotAllowed(f"The Origin {origin!r:.100} is not this service, which the request calls {host!r:.100}")
        own = urlsplit(settings.service_url)
        scheme = own.scheme if name == own.hostname else self._scope["scheme"]
        return f"{scheme}://{host}"

    def _check_credential(self, route: Route) -> str:
        if route.access in (Access.PUBLIC, Access.SIGNED_URL):
            return ""
        credential = bearer_of(_text(self._headers.get(b"authorization")))
        if route.access is not Access.KEY:
            self.caller = self._service._tokens.caller_of(credential)
            route.check_rights(self.caller)
        return credential

    def _uris(self, base_url: str, names_workspace: bool) -> Uris:
        if not names_workspace:
            return self._service._proxy_uris
        root = tracking_root(base_url, self._service._settings.workspace_name)
        return AzureUris(root, self._service._find_container)


class _Answered:
    """The sending of one answer: its status, and whether it has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), HAS_NO_LIMITS]
        self.status = 0
        self.sent_bytes = 0

    async def send(self, message: Message) -> None:
        """ASGI's `send`, with the headers of every answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Send a header with the answer, whatever that will be."""
        self._headers.append((name, value))

    async def whole(self, answer: bytes | Content) -> None:
        """Send JSON, or other content."""
        body, status, media_type = answer, 200, b"application/json"
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(answer, Content):
            body, status, media_type = answer.body, answer.status, answer.media_type.encode()
            headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
        headers += [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def headers_of(self, response: Response) -> None:
        """Send an answer's status and headers, and no body."""
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": b""})

    async def instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Send an error's answer; where another answer has begun there is no way left but to break it off."""
        if self.status:
            raise ConnectionAbortedError("the answer failed on its way")
        await response(scope, receive, self.send)


def _prepared(
    route: Route, call: Call, body: Body, query: bytes, content_type: str | None
) -> "Callable[[], bytes | Content]":
    """The handler with what it takes, as a function that returns the encoded answer."""
    handler = route.handler
    if route.body is None:
        return lambda: _encoded(handler(call))
    is_list = get_origin(route.body) is list  # which no query can have
    if route.method in _BODY_FROM_QUERY or (route.method == "DELETE" and not body and not is_list):
        given = decode_query(route.body, query)
    else:
        given = decode_json(route.body, body, content_type, allow_nan=route.area in _NAN_IN_JSON)
    return lambda: _encoded(handler(call, given))


def _for_caller(call: Call, apply: Callable[[], bytes]) -> Callable[[], bytes]:
    """The same, done in the name of the caller: the records keep who changed what."""

    def apply_for_caller() -> bytes:
        with acting_for(call):
            return apply()

    return apply_for_caller


def _once(records: RecordStore, request_id: str, apply: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: records.once(request_id, apply)


def _encoded(answer: Any) -> bytes | Content:
    if isinstance(answer, Content):
        return answer
    return b"{}" if answer is None else msgspec.json.encode(answer)


def _check_given_once(headers: Iterable[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in headers]
    for name in _GIVEN_ONCE:
        if names.count(name) > 1:
            raise BadRequest(f"The header {name.decode().title()} must be given once, not {names.count(name)} times")


@lru_cache(maxsize=256)
def _host_name(host: str) -> str:
    """The name in a Host header, without brackets and port; "" for what is no `NAME[:PORT]`."""
    match = _HOST.fullmatch(host)
    return "" if match is None or int(match[2] or 0) > _LAST_PORT else match[1].strip("[]").lower()


def _request_id(headers: dict[bytes, bytes]) -> str:
    for name in (b"x-request-id", b"x-ms-client-request-id"):
        given = headers.get(name)
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
    return f"{random.getrandbits(128):032x}"  # not uuid4, whose system call lets another thread have the GIL


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")
