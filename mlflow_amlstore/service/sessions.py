"""Sessions of browsers: a token in a cookie, and in each change the form token of the page that it came from.

Browsers send cookies by themselves, so a change needs what another site can't know: the form token, in a header that
no form of another site can have. `SameSite=Strict` and the check of the header Origin stand before it.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from mlflow_amlstore.errors import NotAllowed, TokenRefused
from mlflow_amlstore.service.auth import LONGEST_SESSION_S, Tokens

FORM_TOKEN_HEADER = b"x-form-token"
SIGN_IN = "Sign in with a workspace key, or with the link that `amlstore open` prints"
"""The way out of a refusal for whoever sits at a browser; a tracking URI opens no page."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def cookie_name(base_url: str) -> str:
    """The cookie's name, with the port in it: cookies know hosts alone, and a machine may have many workspaces."""
    parts = urlsplit(base_url)
    return f"amlstore-session-{parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)}"


def session_cookie(token: str, base_url: str) -> str:
    """The header Set-Cookie that keeps a session in the browser; an empty token ends it."""
    secure = "; Secure" if base_url.startswith("https:") else ""
    age_s = LONGEST_SESSION_S if token else 0
    return f"{cookie_name(base_url)}={token}; Max-Age={age_s}; Path=/; HttpOnly; SameSite=Strict{secure}"


def session_in(cookies: str | None, base_url: str) -> str:
    """The session token in the header Cookie. Raises TokenRefused where there is none."""
    try:
        found = SimpleCookie(cookies or "").get(cookie_name(base_url))
    except CookieError:
        found = None
    if found is None or not found.value:
        raise TokenRefused("This page needs a session")
    return found.value


def check_form_token(tokens: Tokens, session: str, given: str | None) -> None:
    """Raise NotAllowed where a change doesn't come from a page of this session."""
    if not hmac.compare_digest((given or "").encode(), tokens.form_token(session).encode()):
        raise NotAllowed("A change needs the form token of a page of this session (X-Form-Token); load the page again")
