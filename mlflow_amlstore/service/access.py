"""Who may do what: roles, what opens a route, and the caller that a credential turns out to be."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Role(IntEnum):
    """What a key may do: each role includes those before it."""

    READER = 1
    CONTRIBUTOR = 2
    OWNER = 3


class Access(Enum):
    """Who may call a route that no role opens."""

    PUBLIC = "anybody"
    KEY = "whoever has a key"
    SIGNED_URL = "whoever has the signed URL"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever's credential came with a request. `key_id` is the key behind it, `started_s` when its tokens began (UTC).

    A caller `for_tracking_only` holds the token of a tracking URI.
    """

    key_id: str
    role: Role
    started_s: int
    for_tracking_only: bool
