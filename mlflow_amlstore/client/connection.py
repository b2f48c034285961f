"""Connections to workspace services: a process has one for each workspace and each holder of a token.

Two tracking URIs that differ only in `expires` and in the age of their `token` share a connection, which uses the newer
token. Tokens of two keys never share one, because the keys may have different roles. Making a connection takes no
network. A connection is safe across threads and fork. It can be pickled: the copy gets the tracking URI with its
living token, and no key.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.tokens.clouds import Cloud
from mlflow_amlstore.client.tokens.credentials import (
    AccessToken,
    Credential,
    check_credential,
    find_credential,
    token_of,
)
from mlflow_amlstore.client.tokens.renewal import RenewedToken
from mlflow_amlstore.client.tokens.resolution import resolve_source
from mlflow_amlstore.client.tokens.stored_keys import use_key_variable_for
from mlflow_amlstore.client.tokens.tracking_token import subject_of
from mlflow_amlstore.errors import TokenRefused
from mlflow_amlstore.protocol.limits import AZURE, Limits
from mlflow_amlstore.workspace.script_log import keep_script_log
from mlflow_amlstore.workspace.tracking_uri import TrackingUri, parse

_RENEWED_BEFORE_S = 60.0  # an access token's end
_lock = threading.Lock()
_connections: dict[str, list["Connection"]] = {}  # of each workspace, the one that was asked for last at the end


def connection_of(
    uri: str | TrackingUri, credential: Credential | None = None, cloud: Cloud | None = None
) -> "Connection":
    """Return the connection to the service that a tracking URI names. It uses the newer of the URI's token and its own.

    A URI without a token gets the connection that goes by a key, or else the one that was asked for last.
    `credential` is used from now on; without one, `tokens.resolution` looks for one. `cloud` is given where Azure's
    resource manager named the URI's host.

    Raises TrackingUriInvalid where the URI names no service, InvalidValue for an invalid address or credential.
    """
    if credential is not None:
        check_credential(credential)
    parsed = parse(uri) if isinstance(uri, str) else uri
    use_key_variable_for(parsed.service_url)
    return _connection_of(parsed, credential, cloud)


def connection_led_to(uri: TrackingUri) -> "Connection":
    """Return the connection to a service that a record names, and the user perhaps not.

    It never gets the key in AMLSTORE_KEY, unless the user opens that service too: whoever wrote the record would be
    sent it. Raises as `connection_of`.
    """
    return _connection_of(uri, None, None)


def _connection_of(parsed: TrackingUri, credential: Credential | None, cloud: Cloud | None) -> "Connection":
    with _lock:
        of_workspace = _connections.setdefault(parsed.root, [])
        known = _find(of_workspace, parsed, credential)
        if known is None:
            keep_script_log()
            known = Connection(parsed, credential, cloud)
        else:
            known.take(parsed, credential)
            of_workspace.remove(known)
        of_workspace.append(known)
    return known


def _find(of_workspace: Sequence["Connection"], uri: TrackingUri, credential: Credential | None) -> "Connection | None":
    latest_first = of_workspace[::-1]
    if uri.token is not None:
        subject = subject_of(uri.token)
        return next((known for known in latest_first if known.subject == subject), None)
    by_key = (known for known in latest_first if known.goes_by_key(credential))
    return next(by_key, latest_first[0] if latest_first and credential is None else None)


class Connection:
    """Calls of one workspace service. Get it from `connection_of`."""

    def __init__(self, uri: TrackingUri, credential: Credential | None, cloud: Cloud | None = None) -> None:
        self.root = uri.root
        """The workspace's tracking URI without its query."""
        self.service_url = uri.service_url
        """`scheme://host[:port]`."""
        self.mlflow_path = urlsplit(uri.root).path
        """What comes before `/api/2.0/mlflow/…` in a path of the service."""
        self.limits: Limits | None = AZURE
        """What the workspace takes; Azure ML's until an answer says that there are none."""
        self.has_answered = False
        """Whether `limits` is what the workspace said."""
        self._uri = uri
        self._access: AccessToken | None = None
        self._token = RenewedToken(uri, resolve_source(uri, credential, cloud))

    def __reduce__(self) -> tuple[Callable[..., "Connection"], tuple[str]]:
        return connection_of, (str(self._token.uri()),)

    def __repr__(self) -> str:
        return f"Connection({self.root!r})"

    @property
    def workspace_path(self) -> str:
        """`/subscriptions/…/workspaces/NAME`. Raises TrackingUriInvalid where the URI names none."""
        return self._uri.workspace_path

    @property
    def subject(self) -> str | None:
        """Whose token it began with; None before it has one."""
        return self._token.subject

    def goes_by_key(self, credential: Credential | None = None) -> bool:
        """Whether it began with a key rather than with a token, and could use a credential besides."""
        source = self._token.source
        return source.goes_by_key and (credential is None or source.credential in (None, credential))

    def take(self, uri: TrackingUri, credential: Credential | None = None) -> None:
        """Use a newer token of another URI, and a credential, from now on."""
        if credential is not None:
            self._token.source.use(credential)
            self._access = None
        self._token.take(uri)

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Any:
        """Call a path of the service and return the answer's JSON, `{}` for an empty answer.

        A call is retried for two minutes after broken connections, 429 and 5xx. All tries have one request id, by which
        the service applies a write once. `request_id` continues an earlier call; without it the id is new.

        Raises ServiceError with the service's message, TokenRefused when there is no token any more, LoginNeeded,
        ServiceUnreachable, InvalidValue for a body that isn't JSON.
        """
        call = ServiceCall(method, self.service_url, path, json, params, request_id=request_id)
        answer = self._send(call)
        self.has_answered = True
        self.limits = None if call.has_no_limits else AZURE
        return answer

    def request_by_key(self, method: str, path: str, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """As `request`, with the rights of the credential or key itself: a tracking token can't submit.

        Raises LoginNeeded where there is none.
        """
        if not self._token.source.is_for_uris and self._token.source.goes_by_key:  # Azure's, which has all rights
            return self.request(method, path, json, params)
        call = ServiceCall(method, self.service_url, path, json, params)
        try:
            return call.send(self._access_token())
        except BearerRefused:
            self._access = None
        try:
            return call.send(self._access_token())
        except BearerRefused as refused:
            raise TokenRefused(refused.problem) from None

    def _access_token(self) -> str:
        known = self._access
        if known is None or known.expires_on - time.time() < _RENEWED_BEFORE_S:
            credential = self._token.source.credential or find_credential(self.service_url)
            known = self._access = token_of(credential, f"{self.service_url}/.default")
        return known.token

    def known_limits(self) -> Limits | None:
        """The workspace's limits. It is asked for them if it hasn't answered anything yet."""
        if not self.has_answered:
            self.request("POST", f"{self.mlflow_path}/api/2.0/mlflow/experiments/search", json={"max_results": 1})
        return self.limits

    def _send(self, call: ServiceCall) -> Any:
        token = self._token.current()
        try:
            return call.send(token)
        except BearerRefused as refused:
            problem = refused.problem
        fresh = self._token.after_refusal(token, problem)
        try:
            return call.send(fresh)
        except BearerRefused as refused:
            raise TokenRefused(refused.problem) from None

    def token(self) -> str:
        """The token for a request that is made elsewhere. Raises as `request` does."""
        return self._token.current()

    def issue_uri(self) -> str:
        """A tracking URI to hand out; the same again while over a twelfth of its life is left. Raises as `request`."""
        return str(self._token.issue())

    def close(self) -> None:
        """End the background renewal, until this connection is used again: MLflow's stores may hold it too."""
        self._token.close()

    def start_anew_after_fork(self) -> None:
        """In a forked child: new locks, and a renewal of its own."""
        self._token.start_anew_after_fork()


def _start_anew_in_child() -> None:
    global _lock  # another thread of the parent may have held it at the fork
    _lock = threading.Lock()
    for of_workspace in _connections.values():
        for connection in of_workspace:
            connection.start_anew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
