"""Who may do what: roles, rights, what opens a route, and the caller that a credential turns out to be."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Role(IntEnum):
    """What a key may do: each role includes those before it."""

    READER = 1
    CONTRIBUTOR = 2
    OWNER = 3


class Right(Enum):
    """What a route is for. A caller needs its right and its role."""

    TRACK = "track"
    """Log and read experiments, runs, files and models."""
    LOOK = "look"
    """Open pages of Studio and, with a contributor's role, change what they let one change."""
    ADMINISTER = "administer"
    """Everything else: keys, what the service counts, its own description."""


class TokenUse(Enum):
    """What a token is issued for."""

    ACCESS = "access"
    TRACKING = "tracking"
    SESSION = "session"
    """Of one browser, in a cookie (`sessions`)."""
    SIGN_IN = "sign-in"
    """Of one link, which begins a session once."""


RIGHTS = {
    TokenUse.ACCESS: frozenset(Right),
    TokenUse.TRACKING: frozenset({Right.TRACK}),
    TokenUse.SESSION: frozenset({Right.LOOK}),
    TokenUse.SIGN_IN: frozenset(),
}
"""The rights of each token."""


class Access(Enum):
    """Who may call a route that no role opens."""

    PUBLIC = "anybody"
    KEY = "whoever has a key"
    SIGNED_URL = "whoever has the signed URL"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever's token came with a request. `key_id` is the key behind it, `started_s` when its tokens began (UTC).

    `session_id` is the same in all tokens of one browser's session, and empty in other tokens.
    """

    key_id: str
    role: Role
    started_s: int
    use: TokenUse
    session_id: str = ""
