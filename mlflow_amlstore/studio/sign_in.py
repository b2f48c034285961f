"""Beginning and ending a session: by a workspace key, or by a link that works once."""

import math
import threading
import time
from collections import deque
from urllib.parse import unquote, urlencode, urlsplit

import msgspec

from mlflow_amlstore.errors import NotAllowed, ServiceBusy, TokenRefused
from mlflow_amlstore.service.access import Access, Right, Role, TokenUse
from mlflow_amlstore.service.routing import Area, Call, Content, Routes
from mlflow_amlstore.service.sessions import session_cookie, session_in
from mlflow_amlstore.studio.links import Links
from mlflow_amlstore.studio.page import alone, alone_headers

ROUTES = Routes(Area.STUDIO)
_ATTEMPTS, _WITHIN_S = 10, 60.0  # failed ones, of all browsers together: keys are 256 random bits
_failed: deque[float] = deque(maxlen=_ATTEMPTS)
_lock = threading.Lock()


class Key(msgspec.Struct, frozen=True):
    """A workspace key, and the page to go to."""

    key: str
    to: str = "/"


class Signed(msgspec.Struct, frozen=True):
    """Where to go now, relative to the page to sign in."""

    to: str


class Link(msgspec.Struct, frozen=True):
    """A sign-in link, and the page that it leads to."""

    token: str = ""
    to: str = "/"


class NewLink(msgspec.Struct, frozen=True):
    """Which page a sign-in link is to lead to."""

    to: str = "/"


class LinkAnswer(msgspec.Struct, frozen=True):
    """A sign-in link's path and query; it works once, within a minute."""

    path: str


@ROUTES.get("/sign-in", Access.PUBLIC)
def sign_in(call: Call, body: Link) -> Content:
    """Show the page to sign in, or begin the session that a link is good for.

    A link that is good no more leads a browser that has a session to its page all the same.
    """
    raw_path = call.url.partition("?")[0]
    if not body.token:
        text = sign_in_page(raw_path, to=body.to, why="")
        return Content(text.encode(), "text/html; charset=utf-8", tuple(alone_headers().items()))
    try:
        session = call.tokens.redeem_sign_in(body.token)
    except TokenRefused:
        if not _has_session(call):
            raise
        return Content(b"", "text/html; charset=utf-8", (("location", _relative(raw_path, body.to)),), 303)
    # Not a redirect: a browser that comes from elsewhere sends no SameSite=Strict cookie along with one.
    text = alone("signed_in.html", raw_path, to=_relative(raw_path, body.to))
    headers = (*alone_headers().items(), ("set-cookie", session_cookie(session.text, call.base_url)))
    return Content(text.encode(), "text/html; charset=utf-8", headers)


@ROUTES.post("/sign-in", Access.PUBLIC)
def sign_in_with_key(call: Call, body: Key) -> Content:
    """Begin a session with a key. Attempts that fail are limited to ten a minute."""
    _check_attempts()
    try:
        access, _ = call.tokens.exchange_key(body.key.strip())
    except Exception:
        with _lock:
            _failed.append(time.monotonic())
        raise
    session = call.tokens.session_token(call.tokens.caller_of(access.text))
    answer = msgspec.json.encode(Signed(_relative(call.url.partition("?")[0], body.to)))
    return Content(answer, "application/json", (("set-cookie", session_cookie(session.text, call.base_url)),))


@ROUTES.post("/sign-in/links", Role.READER, Right.LOOK)
def sign_in_link(call: Call, body: NewLink) -> LinkAnswer:
    """Make a sign-in link for whoever has an access token."""
    assert call.caller is not None  # as the route needs a role
    if call.form_token:
        raise NotAllowed("A session can't begin another; `amlstore open` gives a link")
    token = call.tokens.sign_in_token(call.caller)
    return LinkAnswer(f"/sign-in?{urlencode({'token': token.text, 'to': body.to})}")


@ROUTES.post("/sign-out", Role.READER, Right.LOOK)
def sign_out(call: Call) -> Content:
    """End this browser's session: all its tokens are refused, wherever a copy of one is."""
    assert call.caller is not None  # as the route needs a role
    call.tokens.end_session(call.caller)
    return Content(b"{}", "application/json", (("set-cookie", session_cookie("", call.base_url)),))


def sign_in_page(raw_path: str, *, to: str, why: str) -> str:
    """The page to sign in, which leads to another one then."""
    return alone("sign_in.html", raw_path, to=local_target(to), why=why)


def local_target(to: str) -> str:
    """A path of this service's to go to after signing in.

    It is the first page for anything that leads elsewhere, or to signing in again.
    """
    try:
        parts = urlsplit(to)
    except ValueError:
        return "/"
    is_ours = to.startswith("/") and not to.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    signs_in = f"{unquote(parts.path)}/".startswith("/sign-in/")
    return to if is_ours and not signs_in else "/"


def _relative(raw_path: str, to: str) -> str:
    return Links(raw_path).root + local_target(to)[1:]


def _has_session(call: Call) -> bool:
    cookies = call.headers.get(b"cookie", b"").decode("latin-1")
    try:
        return call.tokens.caller_of(session_in(cookies, call.base_url)).use is TokenUse.SESSION
    except TokenRefused:
        return False


def _check_attempts() -> None:
    with _lock:
        left_s = _failed[0] + _WITHIN_S - time.monotonic() if len(_failed) == _ATTEMPTS else 0
        if left_s > 0:
            raise ServiceBusy(f"{_ATTEMPTS} attempts to sign in failed within a minute", math.ceil(left_s))
