"""Azure sign-in as a source of tokens: azure-identity's credentials, the user's own or its default chain.

A token for the resource manager opens more than a workspace's runs, so it stays in this process: no tracking URI, no
environment variable and no other host than the workspace's ever gets it.
"""

import re
import sys
import time
from typing import TYPE_CHECKING

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.tokens.clouds import CLOUDS, Cloud
from mlflow_amlstore.client.tokens.credentials import Credential, token_of
from mlflow_amlstore.client.tokens.tracking_token import TrackingToken, token_just_issued
from mlflow_amlstore.errors import AmlStoreError, LoginNeeded, TokenRefused
from mlflow_amlstore.workspace.redaction import redact

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_SIGN_IN_S = 300  # how long somebody at a terminal has to sign in
_SHORTEST_LIFE_S = 60.0  # a clock that is ahead mustn't make each call ask anew
_LONGEST_REASON = 300
_REFUSAL = re.compile(r"AADSTS\d+: [^.]*(?:\.[^.]+)?\.?")  # what the identity platform says
_TRIED = re.compile(r"\b(\w+Credential)(?=: )")


class SignIn:
    """Tokens of Azure's identity platform, for one workspace of Azure ML."""

    is_for_uris = False
    needs_keeping_alive = False  # a credential gives another token at any time
    goes_by_key = True

    def __init__(self, service_url: str, cloud: Cloud, credential: Credential | None = None) -> None:
        """`credential` None: azure-identity's default chain, made when a token is first asked for."""
        self._service_url, self._cloud = service_url, cloud
        self.credential = credential
        self._default: TokenCredential | None = None

    def use(self, credential: Credential) -> None:
        self.credential = credential

    def first(self) -> TrackingToken | None:
        return None

    def fetch(self, held: TrackingToken | None, backoff: Backoff, problem: str) -> TrackingToken:
        if problem:
            self._default = None  # whose cache would give the refused one again
        asked_at_s = time.monotonic()
        text, expires_on = self._token(backoff)
        if problem and held is not None and text == held.text:
            way_out = (
                "Sign in again (`az login`), look whether the credential is of the right tenant, and whether this "
                "machine's clock is right"
            )
            raise TokenRefused(f"{self._service_url} refused the credential's token: {problem}", way_out)
        return token_just_issued(text, max(_SHORTEST_LIFE_S, expires_on - time.time()), asked_at_s)

    def _token(self, backoff: Backoff) -> tuple[str, float]:
        from azure.core.exceptions import ServiceRequestError, ServiceResponseError

        while True:
            try:
                token = token_of(self.credential or self.default_credential(), self._cloud.scope)
                return token.token, float(token.expires_on)
            except (ServiceRequestError, ServiceResponseError) as error:  # the sign-in's own address didn't answer
                if not backoff.pause(_reason(error)):
                    raise LoginNeeded(self._service_url, _reason(error), _WAY_OUT) from None
            except AmlStoreError:
                raise
            except Exception as error:  # whatever a credential raises; its own text may have anything in it
                raise LoginNeeded(self._service_url, _reason(error), _WAY_OUT) from None

    def default_credential(self) -> "TokenCredential":
        """The one of this process that no credential was given to: it remembers who signed in."""
        if self._default is None:
            self._default = _default_credential(self._cloud)
        return self._default

    def tell_children(self, token: TrackingToken) -> None:
        """Nothing: they sign in as this process does."""


_WAY_OUT = (
    "Sign in with `az login`; or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET to a service principal "
    "whose secret hasn't expired; or give Workspace(…, credential=…) any credential of azure-identity"
)


def _default_credential(cloud: Cloud) -> "TokenCredential":
    from azure.identity import ChainedTokenCredential, DefaultAzureCredential, DeviceCodeCredential

    # azure-identity asks Microsoft whether it knows a cloud's authority, which it can't of a cloud of one's own.
    default = DefaultAzureCredential(authority=cloud.login, disable_instance_discovery=cloud not in CLOUDS)
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return default
    return ChainedTokenCredential(default, DeviceCodeCredential(authority=cloud.login, timeout=_SIGN_IN_S))


def _reason(error: Exception) -> str:
    """Why there is no token, in a sentence. azure-identity's own message has a paragraph for each place it tried."""
    text = " ".join(redact(str(getattr(error, "message", None) or error)).split()) or type(error).__name__
    refusal = _REFUSAL.search(text)
    if refusal is not None:
        return refusal[0]
    tried = dict.fromkeys(_TRIED.findall(text))
    if len(tried) > 1:
        return f"azure-identity tried {', '.join(tried)}; none of them has one"
    return text[:_LONGEST_REASON]
