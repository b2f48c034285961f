"""Content URLs: each opens one file for one direction, to whoever has it, until it expires or its key is revoked.

They have the shape of a storage account's SAS URLs, because Azure ML's clients look at it: the account's host name
stands in the path, where those that take a URL apart find it.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from enum import Enum
from urllib.parse import quote

from mlflow_amlstore.errors import NotAllowed, TokenRefused
from mlflow_amlstore.service.addresses import BLOB_PREFIX

_VERSION = "2025-11-05"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_WAY_OUT = "Ask the service for a new one"
_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Direction(str, Enum):
    """What a content URL is for, in the letters of its `sp`."""

    READ = "r"
    WRITE = "cw"


class UrlSigner:
    """Signs and checks the content URLs of one workspace. `location` is `CONTAINER/PATH` as `split_location` has it."""

    def __init__(self, secret: bytes, lifetime_s: float, now: Callable[[], float] = time.time) -> None:
        # A key of its own, so that nothing else that is signed with the secret can pass for a URL's signature.
        self._key = hmac.digest(secret, b"amlstore content URL", hashlib.sha256)
        self._lifetime_s = lifetime_s
        self._now = now

    def sign(
        self, base_url: str, location: str, direction: Direction, key_id: str, *, lifetime_s: float | None = None
    ) -> str:
        """Return a URL of the file that is good for the signer's lifetime, or for a shorter one.

        `key_id` is the key behind the call that asks for it. It stands in `si`, where Azure names an access policy.
        """
        lifetime_s = self._lifetime_s if lifetime_s is None else min(lifetime_s, self._lifetime_s)
        expires = datetime.fromtimestamp(int(self._now() + lifetime_s), timezone.utc).strftime(_TIME)
        signature = self._signature(_VERSION, direction.value, expires, key_id, location)
        query = f"sv={_VERSION}&sr=b&sp={direction.value}&se={expires}&si={quote(key_id)}&sig={signature}"
        return f"{base_url}{BLOB_PREFIX}/{quote(location)}?{query}"

    def verify(self, location: str, query: Mapping[str, str], needed: Direction | None = None) -> str:
        """Check a URL's query, and return the key that it goes back to; `needed` None takes either direction.

        Raises TokenRefused, NotAllowed.
        """
        version, granted, expires = (query.get(name, "") for name in ("sv", "sp", "se"))
        if not query.get("sig"):
            raise TokenRefused("A content URL needs its signature, the field sig of its query", _WAY_OUT)
        if version != _VERSION or not self.is_of(location, query):
            raise TokenRefused("The content URL's signature is not for this file, direction and time", _WAY_OUT)
        if not _TIME_FORM.fullmatch(expires) or self._now() >= _seconds(expires):
            raise TokenRefused(f"The content URL expired at {expires}", _WAY_OUT)
        if needed is not None and granted != needed.value:
            verb = "reading" if needed is Direction.READ else "writing"
            raise NotAllowed(f"This content URL is not for {verb}: its sp is {granted!r:.20}, not {needed.value!r}")
        return query.get("si", "")

    def is_of(self, location: str, query: Mapping[str, str]) -> bool:
        """Whether the query was signed for this file, for whatever direction and time."""
        good = self._signature(*(query.get(name, "") for name in ("sv", "sp", "se", "si")), location)
        return hmac.compare_digest(query.get("sig", "").encode(), good.encode())

    def _signature(self, *parts: str) -> str:
        signed = hmac.digest(self._key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def _seconds(expires: str) -> float:
    return datetime.strptime(expires, _TIME).replace(tzinfo=timezone.utc).timestamp()
