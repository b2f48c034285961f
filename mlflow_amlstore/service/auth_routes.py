"""Routes that exchange keys for tokens, renew tokens, and let an owner see to the keys."""

import time

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import KeyRecord
from mlflow_amlstore.service.keys import new_key
from mlflow_amlstore.service.routing import Access, Area, Call, Right, Role, Routes

ROUTES = Routes(Area.ROOT)


class AccessTokenAnswer(msgspec.Struct, frozen=True):
    """A token for every call that the key's role allows."""

    token: str
    expires_in: float
    role: str


class TrackingTokenAnswer(msgspec.Struct, frozen=True):
    """A tracking URI's token; `expires` is its end (UTC)."""

    token: str
    expires_in: float
    expires: str


class NewKey(msgspec.Struct, frozen=True):
    """What a key is to be called, and may do."""

    name: str
    role: str


class KeyAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key; `key` itself only when it is made."""

    key_id: str
    name: str
    role: str
    created_ms: int
    revoked_ms: int | None = None
    key: str | None = None


class KeysAnswer(msgspec.Struct, frozen=True):
    """All keys, revoked ones too."""

    keys: list[KeyAnswer]


@ROUTES.post("/auth/token", Access.KEY)
def exchange_key(call: Call) -> AccessTokenAnswer:
    """Exchange a key, given as the bearer, for an access token."""
    issued, role = call.tokens.exchange_key(call.credential)
    return AccessTokenAnswer(issued.text, issued.expires_s - time.time(), role.name.lower())


@ROUTES.post("/auth/tracking-token", Role.READER, Right.TRACK)
def tracking_token(call: Call) -> TrackingTokenAnswer:
    """Issue a tracking token to the holder of an access token, or renew a tracking token."""
    assert call.caller is not None  # as the route needs a role
    issued = call.tokens.tracking_token(call.caller)
    return TrackingTokenAnswer(issued.text, issued.expires_s - time.time(), issued.expires)


@ROUTES.get("/auth/keys", Role.OWNER)
def list_keys(call: Call) -> KeysAnswer:
    """List the workspace's keys."""
    return KeysAnswer([_answer(key) for key in call.records.keys.list_keys()])


@ROUTES.post("/auth/keys", Role.OWNER)
def create_key(call: Call, body: NewKey) -> KeyAnswer:
    """Make a key; it is shown this once."""
    if body.role.upper() not in Role.__members__:
        raise InvalidValue("role", body.role, f"must be one of {', '.join(role.name.lower() for role in Role)}")
    record, text = new_key(call.records, body.name, body.role)
    return _answer(record, text)


@ROUTES.delete("/auth/keys/{key_id}", Role.OWNER)
def revoke_key(call: Call) -> None:
    """Revoke a key: its tokens and the tracking URIs issued for it are refused within a second."""
    call.records.keys.revoke(call.path["key_id"])


def _answer(key: KeyRecord, text: str | None = None) -> KeyAnswer:
    return KeyAnswer(key.key_id, key.name, key.role, key.created_ms, key.revoked_ms, text)
