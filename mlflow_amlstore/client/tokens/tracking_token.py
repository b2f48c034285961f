"""A tracking URI's token: what can be read from it without its issuer's secret."""

import base64
import json
import random
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from mlflow_amlstore.workspace.tracking_uri import LIFETIME

# Clocks of client and service may differ by this much; nothing here is decided by a comparison that is closer.
CLOCK_SKEW_S = 120.0
_EARLIEST_RENEWAL_S = 10.0


@dataclass(frozen=True, slots=True)
class TrackingToken:
    """A token in this process's hands.

    `renew_at_s` and `gone_at_s` are on the monotonic clock: when a third of its life is left, and when it has ended
    for sure. `ends_at_s` is its end where that is known to the second, because this process was there when it began.
    """

    text: str = field(repr=False)
    expires: datetime | None
    issued_s: float  # by the service's clock; of two tokens the one with the greater is the newer
    lifetime_s: float
    renew_at_s: float
    gone_at_s: float
    ends_at_s: float | None = None


def token_just_issued(text: str, expires_in_s: float, asked_at_s: float) -> TrackingToken:
    """A token that the service issued for `expires_in_s` from `asked_at_s` on (monotonic)."""
    issued_s, expires_s = _issued_and_expires(text)
    return TrackingToken(
        text,
        expires=_as_time(expires_s),
        issued_s=issued_s,
        lifetime_s=expires_in_s,
        renew_at_s=asked_at_s + expires_in_s * random.uniform(19 / 30, 20 / 30),  # the ranks of a job not all at once
        gone_at_s=asked_at_s + expires_in_s,
        ends_at_s=asked_at_s + expires_in_s,
    )


def token_of_uri(text: str, expires: datetime | None) -> TrackingToken:
    """A token that came in a URI, at whatever age: where the clocks don't tell for sure, it is renewed soon."""
    issued_s, expires_s = _issued_and_expires(text)
    if not expires_s and expires is not None:
        expires_s = expires.timestamp()
    lifetime_s = expires_s - issued_s if issued_s and expires_s > issued_s else LIFETIME.total_seconds()
    now_s = time.monotonic()
    left_s = min(expires_s - time.time(), lifetime_s)
    surely_left_s = left_s - CLOCK_SKEW_S
    soon_s = min(lifetime_s / 6, _EARLIEST_RENEWAL_S) * random.uniform(0.5, 1)
    return TrackingToken(
        text,
        expires=_as_time(expires_s) or expires,
        issued_s=issued_s,
        lifetime_s=lifetime_s,
        renew_at_s=now_s + max(soon_s, surely_left_s - lifetime_s * random.uniform(1 / 3, 0.4)),
        gone_at_s=now_s + (left_s if expires_s else lifetime_s) + CLOCK_SKEW_S,
    )


def subject_of(token: str) -> str:
    """Whose token it is: a JWT's `sub`, or "" where it has none. Two of one subject may stand for each other."""
    return str(_claims(token).get("sub", ""))


def role_of(token: str) -> str:
    """The role that our service's token has; "" for another kind of token."""
    return str(_claims(token).get("role", ""))


def lifetime_of(token: str) -> float | None:
    """How long a JWT lives from when it was issued, in seconds; None where it doesn't say."""
    issued_s, expires_s = _issued_and_expires(token)
    return expires_s - issued_s if issued_s and expires_s > issued_s else None


def expiry_of(token: str) -> float | None:
    """When a JWT ends (UTC seconds since the epoch); None where it doesn't say."""
    return _issued_and_expires(token)[1] or None


def _issued_and_expires(token: str) -> tuple[float, float]:
    claims = _claims(token)
    try:
        return float(claims.get("iat", 0)), float(claims.get("exp", 0))
    except (ValueError, TypeError):
        return 0.0, 0.0


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT (RFC 7519); none for another kind of token.

    They are not verified. They only tell when to ask for a new token, and which tokens belong together.
    """
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _as_time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc) if seconds > 0 else None
    except (OverflowError, OSError, ValueError):
        return None
