"""Keeps one token of a workspace alive: one renewal however many threads ask, in the background before the token ends,
and once when the service refuses it.

The service alone decides whether a token is good. This side only chooses when to ask for the next one, by the monotonic
clock, so that neither clock has to be right.
"""

import logging
import random
import threading
import time

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.tokens.source import TokenSource
from mlflow_amlstore.client.tokens.tracking_token import TrackingToken, subject_of, token_of_uri
from mlflow_amlstore.errors import AmlStoreError, LoginNeeded, TokenRefused
from mlflow_amlstore.workspace.tracking_uri import Issuer, TrackingUri

_REFUSAL_HOLDS_S = 5.0  # how long threads that asked for the same renewal share its refusal
_LONGEST_RETRY_PAUSE_S = 60.0
_ASKED_FOR_AGAIN_WHEN_LEFT_S = 300.0
_LIVES_ON_S = 60.0

_logger = logging.getLogger(__name__)


class RenewedToken:
    """The living token of one workspace, in this process. Safe across threads and fork."""

    def __init__(self, uri: TrackingUri, source: TokenSource) -> None:
        """Takes no network."""
        self._root, self._scheme, self._service_url = uri.root, uri.scheme, uri.service_url
        self.source = source
        """Where tokens come from."""
        self._token: TrackingToken | None = None
        self._issued: TrackingToken | None = None
        self._issuer = Issuer(uri.root)
        self._refused: tuple[str, float, AmlStoreError] | None = None
        self.subject: str | None = None
        """Whose the first token was; None before there is one."""
        self._is_closed = False
        self._ask_again_at_s = 0.0
        self._thread: threading.Thread | None = None
        self._make_locks()
        first = source.first()
        if first is not None:
            self._adopt(first)

    def _make_locks(self) -> None:
        self._renewing = threading.RLock()  # held by whoever asks the service, while all others wait for the answer
        self._changed = threading.Condition()

    # What callers need

    def take(self, uri: TrackingUri) -> None:
        """Use another URI's token from now on if it is newer than ours."""
        if uri.token is None:
            return
        given, ours = token_of_uri(uri.token, uri.expires), self._token
        if ours is None or given.text == ours.text:
            is_newer = ours is None
        else:
            is_newer = given.issued_s > ours.issued_s or self._is_refused(ours.text)
        if is_newer:
            self._adopt(given)

    def current(self) -> str:
        """The token. A request is made only for the first token of a process whose URI has none.

        Raises LoginNeeded, TokenRefused, ServiceUnreachable, ServiceError.
        """
        token = self._token
        if token is None:
            return self._renewed(None)
        if self.source.needs_keeping_alive:
            if self._is_closed:
                self._start_thread()
        elif not _has_left(token, min(_ASKED_FOR_AGAIN_WHEN_LEFT_S, token.lifetime_s / 12)):
            return self._asked_for_again(token)
        return token.text

    def after_refusal(self, refused: str, problem: str) -> str:
        """Another token than the one that the service refused with this sentence. Raises as `current`."""
        return self._renewed(refused, problem)

    def uri(self) -> TrackingUri:
        """The tracking URI with the token as it is, or without one."""
        token = self._token if self.source.is_for_uris else None
        return TrackingUri(self._scheme, self._root, *((token.expires, token.text) if token else ()))

    def issue(self) -> TrackingUri:
        """A tracking URI to hand out. Raises as `current`.

        It is the last one again while over a twelfth of its life is left, else a fresh one. Where URIs may not have the
        token, the URI has none and is good for an hour.
        """
        if not self.source.is_for_uris:
            return self._issuer.issue()
        with self._renewing:
            issued = self._issued
            if issued is None or not _has_left(issued, issued.lifetime_s / 12):
                if self._token is None or not _has_left(self._token, self._token.lifetime_s * 59 / 60):
                    self._renewed(self._token.text if self._token else None)
                issued = self._issued = self._token
            assert issued is not None
            return TrackingUri(self._scheme, self._root, issued.expires, issued.text)

    def close(self) -> None:
        """End the background renewal, until the token is used again."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def start_anew_after_fork(self) -> None:
        """In a forked child: new locks, since the parent's threads may have held these, and a thread where one ran."""
        ran = self._thread is not None
        self._thread = None
        self._make_locks()
        self._issuer.start_anew_after_fork()
        if ran and self._token is not None:
            self._start_thread()

    # Renewal

    def _renewed(self, instead_of: str | None, problem: str = "") -> str:
        with self._renewing:
            if self._token is not None and self._token.text != instead_of:
                return self._token.text  # another thread was faster
            if instead_of is not None and self._is_refused(instead_of):
                assert self._refused is not None
                raise self._refused[2]
            try:
                self._fetch(Backoff(f"The workspace service {self._service_url}"), problem)
            except (TokenRefused, LoginNeeded) as error:
                if instead_of is not None:
                    self._refused = (instead_of, time.monotonic() + _REFUSAL_HOLDS_S, error)
                raise
            assert self._token is not None
            return self._token.text

    def _asked_for_again(self, ending: TrackingToken) -> str:
        """The next token of a credential; where it can't be had just now, the one that still lives a while."""
        if not _has_left(ending, _LIVES_ON_S):
            return self._renewed(ending.text)
        with self._renewing:
            if self._token is ending and time.monotonic() >= self._ask_again_at_s:
                try:
                    self._fetch(Backoff("", total_s=0))
                except AmlStoreError as error:
                    _logger.debug("The token of %s is not renewed yet: %s", self._root, type(error).__name__)
                    self._ask_again_at_s = time.monotonic() + _LIVES_ON_S / 2
            return (self._token or ending).text

    def _is_refused(self, text: str) -> bool:
        refused = self._refused
        return refused is not None and refused[0] == text and time.monotonic() < refused[1]

    def _fetch(self, backoff: Backoff, problem: str = "") -> None:
        token = self.source.fetch(self._token, backoff, problem)
        _logger.debug("Got a token of %s, valid for %.0f s", self._root, token.lifetime_s)
        self._adopt(token)
        self.source.tell_children(token)

    def _adopt(self, token: TrackingToken) -> None:
        with self._changed:
            self._token = token
            if self.subject is None:
                self.subject = subject_of(token.text)
            self._changed.notify_all()
        if self.source.needs_keeping_alive:
            self._start_thread()

    # In the background

    def _start_thread(self) -> None:
        with self._changed:
            self._is_closed = False
            if self._thread is not None and self._thread.is_alive():
                return
            thread = threading.Thread(target=self._keep_alive, name="amlstore-token-renewal", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # Python is ending, and so is the need for it
            self._thread = thread

    def _keep_alive(self) -> None:
        pause_s = 0.0
        while (due := self._wait_until_due(pause_s)) is not None:
            pause_s = self._renew_in_background(due, pause_s)

    def _wait_until_due(self, pause_s: float) -> TrackingToken | None:
        """The token that is to be renewed, when it is time; None when there is nothing more to do."""
        with self._changed:
            retry_at_s = time.monotonic() + pause_s
            while not self._is_closed and (token := self._token) is not None:
                if time.monotonic() > token.gone_at_s:
                    break  # nothing to renew any more; the next token starts another thread
                wait_s = max(token.renew_at_s, retry_at_s) - time.monotonic()
                if wait_s <= 0:
                    return token
                self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
            self._thread = None
            return None

    def _renew_in_background(self, due: TrackingToken, paused_s: float) -> float:
        """Ask once; return how long to pause before asking again, 0.0 after success."""
        try:
            with self._renewing:
                if self._token is due:
                    self._fetch(Backoff("", total_s=0))
            return 0.0
        except (TokenRefused, LoginNeeded) as error:
            if paused_s == 0.0:
                _logger.warning("The tracking URI of %s can't be renewed: %s", self._root, error)
        except Exception as error:  # an outage, or whatever a credential raises: the token lives on for a while
            _logger.debug("The token of %s is not renewed yet: %s", self._root, type(error).__name__)
        first_s = min(1.0, due.lifetime_s / 30)
        longest_s = min(_LONGEST_RETRY_PAUSE_S, due.lifetime_s / 12)
        return min(max(first_s, paused_s * 2), longest_s) * random.uniform(0.5, 1)


def _has_left(token: TrackingToken, seconds: float) -> bool:
    return token.ends_at_s is not None and token.ends_at_s - time.monotonic() > seconds
