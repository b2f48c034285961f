"""Tokens: who may call the service, for how long, and with which rights.

A key lives until it is revoked. It is exchanged for an *access token*, which opens every route of the key's role. An
access token gets *tracking tokens*, one in each tracking URI, which have the right to track and no other. Whoever holds
a tracking token can renew it before it ends, until the key is revoked, and for 30 days at most.

Tokens are JWTs (RFC 7519), because Azure ML's clients read `exp` and `tid` from them. They are signed with the
workspace's own secret, so they outlive a restart.
"""

import hmac
import math
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
_ALGORITHM = "HS256"
_ISSUER = "amlstore"
_CLAIMS = ("iss", "aud", "sub", "role", "use", "iat", "exp", "auth_time")
_REVOCATIONS_READ_EVERY_S = 0.5
_MAX_KNOWN_TOKENS = 10_000


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
        return self._issue(Caller(caller.key_id, role, caller.started_s, TokenUse.TRACKING), now)

    def shown_tracking_token(self) -> IssuedToken:
        """Return a tracking token that a service can show to whoever starts it."""
        caller = Caller(shown_key_id(self._records), Role.CONTRIBUTOR, int(self._now_s()), TokenUse.ACCESS)
        return self.tracking_token(caller)

    def _issue(self, caller: Caller, now: float) -> IssuedToken:
        expires_s = math.ceil(min(now + self._lifetime_s, caller.started_s + LONGEST_RENEWAL_S))
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
        return IssuedToken(jwt.encode(claims, self._secret, algorithm=_ALGORITHM), expires_s)

    def caller_of(self, token: str) -> Caller:
        """Return who holds a token. Raises TokenRefused, which says when a good one expired."""
        known = self._known.get(token)
        if known is None:
            claims = self._verified(token)
            caller = _caller_in(claims)
            if len(self._known) >= _MAX_KNOWN_TOKENS:
                self._known.clear()
            known = self._known[token] = caller, claims["exp"]
        caller, expires_s = known
        if self._now_s() >= expires_s:
            what = "tracking URI" if caller.use is TokenUse.TRACKING else "token"
            raise TokenRefused(f"The {what} expired at {_as_time(expires_s)}")
        self.check_not_revoked(caller.key_id)
        return caller

    def check_not_revoked(self, key_id: str) -> None:
        """Raise TokenRefused where a key was revoked, half a second ago or longer: all that it gave ends with it."""
        if key_id in self._revoked_keys():
            raise TokenRefused("The key behind this token or URL was revoked")

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
    return Caller(claims["sub"], role, claims["auth_time"], use)


def _as_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
