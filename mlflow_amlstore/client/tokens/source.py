"""Where a workspace's token comes from: what keeping it alive (`renewal`) asks of each kind of source."""

from typing import Protocol

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.tokens.credentials import Credential
from mlflow_amlstore.client.tokens.tracking_token import TrackingToken


class TokenSource(Protocol):
    """One way to get tokens of one workspace. It holds no token that lives: `renewal.RenewedToken` does."""

    @property
    def is_for_uris(self) -> bool:
        """Whether its tokens are good for tracking alone, so that a tracking URI may have one."""

    @property
    def needs_keeping_alive(self) -> bool:
        """Whether a token that has ended is the end: then it is renewed in the background, in time."""

    @property
    def goes_by_key(self) -> bool:
        """Whether the process began with a credential rather than with a token."""

    @property
    def credential(self) -> Credential | None:
        """The credential that was given, not one that was found."""

    def use(self, credential: Credential) -> None:
        """Get tokens by a credential from now on."""

    def first(self) -> TrackingToken | None:
        """The token that the process began with, if there is one."""

    def fetch(self, held: TrackingToken | None, backoff: Backoff, problem: str) -> TrackingToken:
        """Return a fresh token. `held` is the one at hand, `problem` why the service refused it, where it did.

        Raises TokenRefused, LoginNeeded, ServiceUnreachable, ServiceError.
        """

    def tell_children(self, token: TrackingToken) -> None:
        """Let processes that are started from now on inherit a living token, where this one inherited one."""
