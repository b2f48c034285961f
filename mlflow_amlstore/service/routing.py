"""The route table: what every route is called, who may call it, what it takes and gives.

Handlers register themselves here; the application, the OpenAPI document, docs/parity.md and the tests of access all
read this one table, so that no route can be forgotten by one of them.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeVar, get_type_hints

from mlflow_amlstore.errors import NotAllowed
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.access import Access, Caller, Right, Role, TokenUse, rights_of
from mlflow_amlstore.service.auth import Tokens
from mlflow_amlstore.service.signed_urls import Direction, UrlSigner
from mlflow_amlstore.service.uris import Uris

__all__ = ["Access", "Area", "Call", "Content", "Right", "Role", "Route", "Routes"]

MAX_JSON_BYTES = 8 * 1024 * 1024  # a hundred tags as long as they may be, each of their characters as \\uXXXX
MAX_LARGE_JSON_BYTES = 32 * 1024 * 1024  # a dataset's profile alone may have 16 MB (`records.validation`)


_PURPOSES = {
    TokenUse.ACCESS: "every route",
    TokenUse.TRACKING: "tracking",
    TokenUse.SESSION: "pages of Studio",
    TokenUse.SIGN_IN: "signing in",
    TokenUse.RUN: "what its run does",
}


class Area(Enum):
    """What a route's path follows; errors are answered in the area's own shape."""

    ROOT = "root"
    MLFLOW = "mlflow"
    HISTORY = "history"
    ARTIFACT = "artifact"
    BLOB = "blob"
    METRIC = "metric"
    CONTENT = "content"
    MODEL_MANAGEMENT = "modelmanagement"
    ARM = "arm"
    EXECUTION = "execution"
    ENVIRONMENT = "environment"
    STUDIO = "studio"


class Content(NamedTuple):
    """An answer that isn't JSON, and headers of its own."""

    body: bytes
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler is given besides the request's body."""

    records: RecordStore
    uris: Uris
    signer: UrlSigner
    base_url: str  # scheme://host[:port], as the client has it
    tokens: Tokens
    workspace_name: str
    routes: "tuple[Route, ...]"
    path: dict[str, str] = field(default_factory=dict)
    caller: Caller | None = None
    credential: str = ""  # the key itself, where `Access.KEY` opens the route
    # In Studio's area alone, whose paths are matched as they were sent:
    url: str = ""  # the path and query
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    form_token: str = ""  # which changes from pages of this session come with

    def content_url(self, location: str, direction: Direction, *, lifetime_s: float | None = None) -> str:
        """A URL of a file for the caller, `CONTAINER/PATH`, to be read or written without a token."""
        assert self.caller is not None  # as a route that gives one needs a role
        return self.signer.sign(self.base_url, location, direction, self.caller.key_id, lifetime_s=lifetime_s)


H = TypeVar("H", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path template (`{name}` is one segment, `{name:path}` all that follow) with its handler.

    A handler is a plain function `(call)` or `(call, body)`, run on a thread, or a coroutine function `(call, request)`
    that streams. A plain one that needs a contributor writes: it runs in a transaction, as a whole or not at all.
    """

    area: Area
    method: str
    path: str
    access: Role | Access
    right: Right  # which a caller needs besides the role
    handler: Callable[..., Any]
    body: Any  # a struct, or what a list in JSON has
    answer: Any
    is_long: bool  # whether it takes longer the more a run, an experiment or the workspace has, or the body names
    most_bytes: int  # that a body may have

    @property
    def streams(self) -> bool:
        return inspect.iscoroutinefunction(self.handler)

    @property
    def reads_body(self) -> bool:
        """Whether the application reads a body for the handler; where not, no byte of one is kept."""
        return not self.streams and self.body is not None and self.method not in ("GET", "HEAD")

    @property
    def writes(self) -> bool:
        is_open_to_writers = isinstance(self.access, Role) and self.access >= Role.CONTRIBUTOR
        return not self.streams and (is_open_to_writers or self.right is Right.WORK)

    def check_rights(self, caller: Caller) -> None:
        """Raise NotAllowed where the caller lacks this route's right or role."""
        if self.right not in rights_of(caller.use, caller.role):
            raise NotAllowed(f"{self.method} {self.path} {self._lacking(caller)}")
        if isinstance(self.access, Role) and caller.role < self.access:
            raise NotAllowed(
                f"{self.method} {self.path} needs the role {self.access.name.lower()}; the key behind this call is a "
                f"{caller.role.name.lower()}'s. One with more rights comes from `amlstore keys create`"
            )

    def _lacking(self, caller: Caller) -> str:
        """What a caller without this route's right would need."""
        if caller.role is Role.AGENT:
            return "isn't an agent's to call: its key takes what was submitted, and does nothing else"
        if self.right is Right.WORK:
            return "needs an agent's key, which `amlstore keys create NAME --role agent` makes"
        if self.right is Right.HOLD:
            return "needs the run's own token, which its runner has"
        return (
            f"needs an access token; this one is for {_PURPOSES[caller.use]} and nothing else. POST /auth/token "
            "exchanges a key for an access token"
        )

    @property
    def summary(self) -> str:
        """The first sentence of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n\n")[0].replace("\n", " ")


class Routes:
    """The routes of one module, in one area: `routes.post("/api/…", Role.READER, Right.TRACK)` decorates a handler.

    A route that names no right needs `Right.ADMINISTER`, so that it is closed to tracking tokens.
    """

    def __init__(self, area: Area) -> None:
        self._area = area
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def add(
        self,
        method: str,
        path: str,
        access: Role | Access,
        right: Right = Right.ADMINISTER,
        *,
        is_long: bool = False,
        most_bytes: int = MAX_JSON_BYTES,
    ) -> Callable[[H], H]:
        """Register the handler below; its `body` annotation says what is decoded for it."""

        def register(handler: H) -> H:
            hints = get_type_hints(handler)
            body, answer = hints.get("body"), hints.get("return")
            route = Route(self._area, method, path, access, right, handler, body, answer, is_long, most_bytes)
            self._routes.append(route)
            return handler

        return register

    def get(
        self, path: str, access: Role | Access, right: Right = Right.ADMINISTER, *, is_long: bool = False
    ) -> Callable[[H], H]:
        """Register a GET; a body is read from the query string."""
        return self.add("GET", path, access, right, is_long=is_long)

    def post(
        self,
        path: str,
        access: Role | Access,
        right: Right = Right.ADMINISTER,
        *,
        is_long: bool = False,
        most_bytes: int = MAX_JSON_BYTES,
    ) -> Callable[[H], H]:
        """Register a POST with a JSON body."""
        return self.add("POST", path, access, right, is_long=is_long, most_bytes=most_bytes)

    def put(self, path: str, access: Role | Access, right: Right = Right.ADMINISTER) -> Callable[[H], H]:
        """Register a PUT."""
        return self.add("PUT", path, access, right)

    def patch(
        self, path: str, access: Role | Access, right: Right = Right.ADMINISTER, *, is_long: bool = False
    ) -> Callable[[H], H]:
        """Register a PATCH with a JSON body."""
        return self.add("PATCH", path, access, right, is_long=is_long)

    def delete(self, path: str, access: Role | Access, right: Right = Right.ADMINISTER) -> Callable[[H], H]:
        """Register a DELETE; a body is read from JSON where there is one, else from the query string."""
        return self.add("DELETE", path, access, right)
