"""Who may do what: roles, rights, what opens a route, and the caller that a credential turns out to be."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Role(IntEnum):
    """What a key may do: each role includes those before it, but for the agent's, which has a right of its own."""

    AGENT = 0
    READER = 1
    CONTRIBUTOR = 2
    SUBMITTER = 3
    OWNER = 4


class Right(Enum):
    """What a route is for. A caller needs its right and its role."""

    TRACK = "track"
    """Log and read experiments, runs, files and models."""
    SUBMIT = "submit"
    """Have scripts run."""
    WORK = "work"
    """Take what was submitted, to run it: an agent's."""
    HOLD = "hold"
    """Say that a run goes on: its runner's, and of its own run alone."""
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
    RUN = "run"
    """Of one submitted run, until its runner has done with it."""


_RIGHTS = {
    TokenUse.ACCESS: frozenset(Right) - {Right.HOLD},
    TokenUse.TRACKING: frozenset({Right.TRACK}),
    TokenUse.SESSION: frozenset({Right.LOOK}),
    TokenUse.SIGN_IN: frozenset(),
    TokenUse.RUN: frozenset({Right.TRACK, Right.HOLD}),
}
_OF_AGENTS = frozenset({Right.WORK})


def rights_of(use: TokenUse, role: Role) -> frozenset[Right]:
    """The rights of a token."""
    return _RIGHTS[use] & _OF_AGENTS if role is Role.AGENT else _RIGHTS[use] - _OF_AGENTS


class Access(Enum):
    """Who may call a route that no role opens."""

    PUBLIC = "anybody"
    KEY = "whoever has a key"
    SIGNED_URL = "whoever has the signed URL"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever's token came with a request. `key_id` is the key behind it, `started_s` when its tokens began (UTC).

    `session_id` is the same in all tokens of one browser's session, and empty in other tokens; `run_id` is of a run's.
    """

    key_id: str
    role: Role
    started_s: int
    use: TokenUse
    session_id: str = ""
    run_id: str = ""
