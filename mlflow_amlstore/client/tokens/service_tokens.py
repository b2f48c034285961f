"""Tokens of our own service: a key is exchanged for one, and a living one for the next."""

import os
import time
from collections.abc import Callable

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.tokens.credentials import Credential, find_credential, token_of
from mlflow_amlstore.client.tokens.tracking_token import TrackingToken, subject_of, token_just_issued, token_of_uri
from mlflow_amlstore.errors import LoginNeeded, ServiceUnreachable, TokenRefused, TrackingUriInvalid
from mlflow_amlstore.workspace.tracking_uri import TrackingUri, parse

_URI_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


class ServiceTokens:
    """Tracking tokens of one workspace, by the token in a tracking URI, or by a key."""

    is_for_uris = True
    needs_keeping_alive = True

    def __init__(self, uri: TrackingUri, credential: Credential | None) -> None:
        """`credential` None: one is found when it is needed, if there is one."""
        self._uri = uri
        self._service_url = uri.service_url
        self.credential = credential
        self.goes_by_key = uri.token is None
        self._subject = None if uri.token is None else subject_of(uri.token)

    def use(self, credential: Credential) -> None:
        self.credential = credential

    def first(self) -> TrackingToken | None:
        return None if self._uri.token is None else token_of_uri(self._uri.token, self._uri.expires)

    def fetch(self, held: TrackingToken | None, backoff: Backoff, problem: str) -> TrackingToken:
        for bearer_of in self._bearers(held):
            try:
                bearer = bearer_of()
                if bearer is not None:
                    return self._exchanged(bearer, backoff)
            except BearerRefused as refused:
                problem = problem or refused.problem
            except LoginNeeded as error:
                if held is None:
                    raise
                problem = f"{problem}, and there is no key to renew it with ({error.searched})"
        raise TokenRefused(problem)

    def _bearers(self, held: TrackingToken | None) -> list[Callable[[], str | None]]:
        """What can be exchanged for a token, in the order to try it.

        A process that came with a credential uses that, as its key may have got other rights. One that came with a URI
        renews its token, and looks for a key when it can't.
        """

        def by_token() -> str | None:
            return None if held is None else held.text

        if self.credential is not None or self.goes_by_key:
            return [self._by_key, by_token]
        return [by_token, self._by_key]

    def _by_key(self) -> str:
        credential = self.credential or find_credential(self._service_url)
        return token_of(credential, f"{self._service_url}/.default").token

    def _exchanged(self, bearer: str, backoff: Backoff) -> TrackingToken:
        asked_at_s = time.monotonic()
        answer = ServiceCall("POST", self._service_url, "/auth/tracking-token", backoff=backoff).send(bearer)
        try:
            token = token_just_issued(answer["token"], float(answer["expires_in"]), asked_at_s)
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceUnreachable(self._service_url, "it answered without a token") from error
        if self._subject is None:
            self._subject = subject_of(token.text)
        return token

    def tell_children(self, token: TrackingToken) -> None:
        """Where the environment has a URI of this workspace and subject, put the living token there."""
        fresh = TrackingUri(self._uri.scheme, self._uri.root, token.expires, token.text)
        for variable in _URI_VARIABLES:
            try:
                inherited = os.environ.get(variable)
                given = parse(inherited or "")
            except TrackingUriInvalid:
                continue  # it is MLflow's to complain about
            if given.is_same_store(fresh) and (given.token is None or subject_of(given.token) == self._subject):
                os.environ[variable] = str(fresh)
