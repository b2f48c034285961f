"""Credentials for a workspace service: what one is, and where this machine keeps them.

A credential is anything with azure-identity's `get_token`. For a service it is usually a *key*, a long-lived secret
that its owner made (`amlstore keys create`); it is exchanged for short tokens and goes nowhere else. A key is looked
for in:

1. the environment variable AMLSTORE_KEY;
2. the operating system's keyring, where the package `keyring` is installed;
3. `~/.config/amlstore/keys.json` (or under $XDG_CONFIG_HOME), which `amlstore login` writes;
4. what a service that this user started on this machine has left in `~/.local/state/amlstore/services` (or under
   $XDG_STATE_HOME).
"""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.tokens.stored_keys import find_key
from mlflow_amlstore.errors import InvalidValue, TokenRefused
from mlflow_amlstore.workspace.service_url import service_url_of


@runtime_checkable
class AccessToken(Protocol):
    """What `get_token` returns: azure-core's AccessToken, or anything with its two fields."""

    @property
    def token(self) -> str:
        """The text that goes after `Bearer`."""

    @property
    def expires_on(self) -> int:
        """UTC seconds since the epoch."""


@runtime_checkable
class Credential(Protocol):
    """The one method of azure-identity's credentials."""

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        """Return a living token. Raises whatever says why there is none."""


def check_credential(credential: object) -> None:
    """Raise InvalidValue for what is no credential."""
    if not callable(getattr(credential, "get_token", None)):
        raise InvalidValue(
            "credential",
            type(credential).__name__,
            "must have the method get_token(*scopes), as azure-identity's credentials have; a class must be called",
        )


def token_of(credential: Credential, *scopes: str) -> AccessToken:
    """Ask a credential for a token. Raises what it does, and InvalidValue for what is no token."""
    token: Any = credential.get_token(*scopes)
    text, expires_on = getattr(token, "token", None), getattr(token, "expires_on", None)
    if not isinstance(text, str) or not isinstance(expires_on, int | float):
        raise InvalidValue(
            "credential",
            type(credential).__name__,
            f"must give an AccessToken, with `token` (text) and `expires_on` (seconds); get_token returned "
            f"{type(token).__name__}",
        )
    found: AccessToken = token
    return found


class _Token(NamedTuple):
    token: str
    expires_on: int

    def __repr__(self) -> str:
        return f"AccessToken(expires_on={self.expires_on})"


@dataclass(frozen=True)
class KeyCredential:
    """A service's key as a credential. Each `get_token` exchanges it anew."""

    service_url: str
    key: str = field(repr=False)

    def get_token(self, *scopes: str, **kwargs: Any) -> _Token:
        """Exchange the key for a token that is good for an hour or so; `scopes` are not used.

        Raises TokenRefused for a key that isn't good (any more), ServiceUnreachable, ServiceError.
        """
        try:
            answer = ServiceCall("POST", self.service_url, "/auth/token").send(self.key)
        except BearerRefused as error:
            raise TokenRefused(f"The key for {self.service_url} was refused: {error.problem}") from None
        return _Token(answer["token"], int(time.time() + answer["expires_in"]))


def find_credential(service_url: str) -> KeyCredential:
    """Return the credential of a service, by the first key that this machine has for it.

    No request is made. Raises LoginNeeded with what was searched, InvalidValue for what is no address.
    """
    return KeyCredential(service_url_of(service_url), find_key(service_url))
