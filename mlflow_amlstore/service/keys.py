"""Keys of a service: made here and shown once, kept as a hash, checked when they are exchanged for tokens."""

import hashlib
import hmac
import re
import secrets
import time
from contextlib import suppress

from mlflow_amlstore.errors import AlreadyExists, InvalidValue
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import KeyRecord
from mlflow_amlstore.service.access import Role

ROLES = tuple(role.name.lower() for role in Role)
_SHOWN_NAME = "amlstore serve"
_SECRET_BYTES = 32
_ID_BYTES = 6
_NAME = re.compile(r"[\w@.+-][\w@.+ -]{0,99}")
_TEXT = re.compile(r"amlk_([0-9a-f]{12})_([\w-]{43})", re.ASCII)


def new_key(records: RecordStore, name: str, role: str) -> tuple[KeyRecord, str]:
    """Make a key and return its record and its text, which nothing can show again.

    Raises InvalidValue; AlreadyExists where an active key has the name.
    """
    if not _NAME.fullmatch(name):
        rule = "must be 1 to 100 letters, digits, blanks and any of _ @ . + -, and not begin with a blank"
        raise InvalidValue("key name", name, rule)
    if role not in ROLES:
        raise InvalidValue("role", role, f"must be one of {', '.join(ROLES)}")
    key_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    record = KeyRecord(key_id, name, role, _hash(secret), int(time.time() * 1000), None)
    records.keys.add(record)
    return record, f"amlk_{key_id}_{secret}"


def shown_key_id(records: RecordStore) -> str:
    """Return the id of the key behind the tracking URIs that services show when they start, and make it at first.

    It is listed and revoked as any other, and nobody ever has its text. Once it is revoked, the next service that
    starts makes another.
    """
    with suppress(AlreadyExists):
        return new_key(records, _SHOWN_NAME, Role.CONTRIBUTOR.name.lower())[0].key_id
    return next(key.key_id for key in records.keys.list_keys() if key.name == _SHOWN_NAME and key.revoked_ms is None)


def check_key(records: RecordStore, text: str) -> KeyRecord | None:
    """Return the key's record, or None for one that is unknown, revoked, or no key at all."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    record = records.keys.find(match[1])
    if record is None or not hmac.compare_digest(record.sha256, _hash(match[2])) or record.revoked_ms is not None:
        return None
    return record


def _hash(secret: str) -> str:
    """Not a slow hash: the secret is 256 random bits, which nobody guesses."""
    return hashlib.sha256(secret.encode()).hexdigest()
