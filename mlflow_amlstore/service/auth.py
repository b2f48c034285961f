"""Tokens: who may call the service, for how long, and with which rights.

A key lives until it is revoked. It is exchanged for an *access token*, which opens every route of the key's role. An
access token gets *tracking tokens*, one in each tracking URI, which have the right to track and no other. Whoever holds
a tracking token can renew it before it ends, until the key is revoked, and for 30 days at most. A *session token* is a
browser's, for the pages of Studio; it is renewed while pages are opened, for twelve hours at most. Signing out ends all
tokens of a session, as long as the service runs: which sessions ended is kept in memory alone. A *run token* is what a
submitted script tracks with; it ends when the run's runner has done with it (`records.sql.run_leases`).

Tokens are JWTs (RFC 7519), because Azure ML's clients read `exp` and `tid` from them. They are signed with the
workspace's own secret, so they outlive a restart.
"""

import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import jwt

from mlflow_amlstore.errors import TokenRefused
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service.access import Caller, Role, TokenUse
from mlflow_amlstore.service.addresses import TENANT_ID
from mlflow_amlstore.service.keys import check_key, shown_key_id
from mlflow_amlstore.service.secret import LOCAL_KEY_ID, local_key

LONGEST_RENEWAL_S = 30 * 24 * 3600
LONGEST_SESSION_S = 12 * 3600
SIGN_IN_S = 60
_ALGORITHM = "HS256"
_ISSUER = "amlstore"
_CLAIMS = ("iss", "aud", "sub", "role", "use", "iat", "exp", "auth_time")
_REVOCATIONS_READ_EVERY_S = 0.5
_MAX_KNOWN_TOKENS = 10_000
_LONGEST_S = {TokenUse.SESSION: LONGEST_SESSION_S}
_LEASES_READ_EVERY_S = 0.5
_KINDS = {
    TokenUse.TRACKING: "tracking URI",
    TokenUse.SESSION: "session",
    TokenUse.SIGN_IN: "sign-in link",
    TokenUse.RUN: "run's token",
}


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token and the second of its end (UTC)."""

    text: str
    expires_s: int

    def __repr__(self) -> str:
        return f"IssuedToken(expires_s={self.expires_s})"

    @property
    def expires(self) -> str:
        """The end as a tracking URI has it."""
        return _as_time(self.expires_s)


class Tokens:
    """Issues and checks the tokens of one workspace. For the event loop's thread."""

    def __init__(
        self, records: RecordStore, secret: bytes, lifetime_s: float, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._secret = secret
        self._workspace_id = records.workspace_id
        self._lifetime_s = lifetime_s
        self._now_s = now_s
        self._known: dict[str, tuple[Caller, int]] = {}
        self._revoked: frozenset[str] = frozenset()
        self._revocations_read_s = -math.inf
        self._redeemed: dict[str, object] = {}
        self._leased: frozenset[str] = frozenset()
        self._leases_read_s = -math.inf
        self._ended: dict[str, int] = {}  # sessions, and the second when their last tokens expire anyway

    def exchange_key(self, text: str) -> tuple[IssuedToken, Role]:
        """Return an access token for a key. Raises TokenRefused."""
        if hmac.compare_digest(text.encode(), local_key(self._secret).encode()):
            key_id, role = LOCAL_KEY_ID, Role.OWNER
        else:
            key = check_key(self._records, text)
            if key is None:
                raise TokenRefused("The key is not one of this workspace's, or was revoked")
            key_id, role = key.key_id, Role[key.role.upper()]
        now = self._now_s()
        return self._issue(Caller(key_id, role, int(now), TokenUse.ACCESS), now), role

    def tracking_token(self, caller: Caller) -> IssuedToken:
        """Return a tracking token for the holder of an access token, or of a tracking token. Raises TokenRefused."""
        now = self._now_s()
        if now >= caller.started_s + LONGEST_RENEWAL_S:
            raise TokenRefused("The tracking URI has been renewed for 30 days, which is the longest")
        role = min(caller.role, Role.CONTRIBUTOR)
        use = TokenUse.RUN if caller.use is TokenUse.RUN else TokenUse.TRACKING
        return self._issue(Caller(caller.key_id, role, caller.started_s, use, run_id=caller.run_id), now)

    def run_token(self, key_id: str, run_id: str) -> IssuedToken:
        """Return a token for a run that whoever has this key submitted."""
        now = self._now_s()
        self._leases_read_s = -math.inf  # it has its lease since a moment
        return self._issue(Caller(key_id, Role.CONTRIBUTOR, int(now), TokenUse.RUN, run_id=run_id), now)

    def shown_tracking_token(self) -> IssuedToken:
        """Return a tracking token that a service can show to whoever starts it."""
        caller = Caller(shown_key_id(self._records), Role.CONTRIBUTOR, int(self._now_s()), TokenUse.ACCESS)
        return self.tracking_token(caller)

    def sign_in_token(self, caller: Caller) -> IssuedToken:
        """Return a token that begins one session, within a minute."""
        now = self._now_s()
        token_of = Caller(caller.key_id, caller.role, int(now), TokenUse.SIGN_IN)
        return self._issue(token_of, now, lifetime_s=SIGN_IN_S, jti=secrets.token_hex(16))

    def redeem_sign_in(self, text: str) -> IssuedToken:
        """Return the session token that a sign-in token is good for. Raises TokenRefused, the second time too."""
        caller = self.caller_of(text)
        if caller.use is not TokenUse.SIGN_IN:
            raise TokenRefused("This token is no sign-in link's")
        mine = object()
        if self._redeemed.setdefault(text, mine) is not mine:  # one step, whichever threads come
            raise TokenRefused("The sign-in link was used already")
        if len(self._redeemed) > _MAX_KNOWN_TOKENS:  # the oldest ended long ago
            self._redeemed.pop(next(iter(self._redeemed)), None)
        return self.session_token(caller)

    def session_token(self, caller: Caller) -> IssuedToken:
        """Return a session token, which begins now."""
        now = self._now_s()
        session_id = secrets.token_hex(16)
        return self._issue(Caller(caller.key_id, caller.role, int(now), TokenUse.SESSION, session_id), now)

    def end_session(self, caller: Caller) -> None:
        """Refuse all tokens of a session from now on. Nothing where the caller's token is of another use."""
        if not caller.session_id:
            return
        now = self._now_s()
        self._ended[caller.session_id] = caller.started_s + LONGEST_SESSION_S
        for session_id, expires_s in list(self._ended.items()):
            if now >= expires_s or len(self._ended) > _MAX_KNOWN_TOKENS:  # the oldest first
                self._ended.pop(session_id, None)

    def prolonged(self, text: str) -> IssuedToken | None:
        """Return a session's next token where half of this one's time is over and the session may go on."""
        caller, expires_s = self._known.get(text) or self._check(text)
        now = self._now_s()
        if expires_s - now > self._lifetime_s / 2 or expires_s >= caller.started_s + LONGEST_SESSION_S:
            return None
        return self._issue(caller, now)

    def form_token(self, session: str) -> str:
        """What a page of this session sends with each change, and no other site knows.

        It stays when the session is prolonged: a page that is open has the first one's.
        """
        caller, _ = self._known.get(session) or self._check(session)
        text = f"form token {caller.session_id}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def has_expired(self, token: str) -> bool:
        """Whether a token that was good is so no more, for its time is over."""
        _, expires_s = self._known.get(token) or self._check(token)
        return self._now_s() >= expires_s

    def _issue(
        self, caller: Caller, now: float, *, lifetime_s: float | None = None, jti: str | None = None
    ) -> IssuedToken:
        longest_s = caller.started_s + _LONGEST_S.get(caller.use, LONGEST_RENEWAL_S)
        expires_s = math.ceil(min(now + (self._lifetime_s if lifetime_s is None else lifetime_s), longest_s))
        claims = {
            "iss": _ISSUER,
            "aud": self._workspace_id,
            "sub": caller.key_id,
            "role": caller.role.name.lower(),
            "use": caller.use.value,
            "iat": int(now),
            "exp": expires_s,
            "auth_time": caller.started_s,
            "tid": TENANT_ID,  # which azureml-core reads, and compares with its subscriptions
        }
        if jti is not None:
            claims["jti"] = jti
        if caller.session_id:
            claims["sid"] = caller.session_id
        if caller.run_id:
            claims["run"] = caller.run_id
        return IssuedToken(jwt.encode(claims, self._secret, algorithm=_ALGORITHM), expires_s)

    def caller_of(self, token: str) -> Caller:
        """Return who holds a token. Raises TokenRefused, which says when a good one expired."""
        caller, expires_s = self._known.get(token) or self._check(token)
        if self._now_s() >= expires_s:
            raise TokenRefused(f"The {_KINDS.get(caller.use, 'token')} expired at {_as_time(expires_s)}")
        self.check_not_ended(caller)
        return caller

    def check_not_ended(self, caller: Caller) -> None:
        """Raise TokenRefused where somebody signed out of the caller's session, or its key was revoked."""
        if caller.session_id in self._ended:
            raise TokenRefused("The session was ended by signing out")
        if caller.use is TokenUse.RUN and caller.run_id not in self._leased_runs():
            raise TokenRefused("The run's token ended with the run")
        self.check_not_revoked(caller.key_id)

    def _leased_runs(self) -> frozenset[str]:
        now = time.monotonic()
        if now - self._leases_read_s > _LEASES_READ_EVERY_S:
            self._leased = self._records.run_leases.runs()
            self._leases_read_s = now
        return self._leased

    def check_not_revoked(self, key_id: str) -> None:
        """Raise TokenRefused where a key was revoked, half a second ago or longer: all that it gave ends with it."""
        if key_id in self._revoked_keys():
            raise TokenRefused("The key behind this token or URL was revoked")

    def _check(self, token: str) -> tuple[Caller, int]:
        claims = self._verified(token)
        if len(self._known) >= _MAX_KNOWN_TOKENS:
            self._known.clear()
        known = self._known[token] = _caller_in(claims), claims["exp"]
        return known

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=self._workspace_id,
                issuer=_ISSUER,
                # The clock is ours, and looked at on each call; `iat` may be of a service whose clock was ahead.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidAudienceError as error:
            raise TokenRefused("The token is for another workspace") from error
        except jwt.InvalidTokenError as error:
            raise TokenRefused("The token was not issued by this service, or was changed") from error
        return claims

    def _revoked_keys(self) -> frozenset[str]:
        now = time.monotonic()
        if now - self._revocations_read_s > _REVOCATIONS_READ_EVERY_S:
            keys = self._records.keys.list_keys()
            self._revoked = frozenset(key.key_id for key in keys if key.revoked_ms is not None)
            self._revocations_read_s = now
        return self._revoked


def bearer_of(authorization: str | None) -> str:
    """The credential in an Authorization header. Raises TokenRefused."""
    kind, _, credential = (authorization or "").strip().partition(" ")
    if kind.lower() != "bearer" or not credential.strip():
        raise TokenRefused("This call needs the header `Authorization: Bearer TOKEN`")
    return credential.strip()


def _caller_in(claims: dict[str, Any]) -> Caller:
    try:
        role, use = Role[claims["role"].upper()], TokenUse(claims["use"])
    except (KeyError, ValueError) as error:  # a later release's
        raise TokenRefused("The token has a role or a use that this service doesn't know") from error
    session_id = claims.get("sid", "")
    if (use is TokenUse.SESSION) != bool(session_id):  # an earlier release's, which nothing could end
        raise TokenRefused("The session is of another release of this service")
    return Caller(claims["sub"], role, claims["auth_time"], use, session_id, claims.get("run", ""))


def _as_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
