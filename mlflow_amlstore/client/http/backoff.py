"""When a request that failed is sent again: on a broken connection, 429, 408 and 5xx, after pauses that grow."""

import logging
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from mlflow_amlstore.client.http.transport import max_retries

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
RETRY_FOR_S = 120.0
THROTTLED = 429
RETRY_THROTTLED_FOR_S = 600.0
"""A service that asks for a slower pace is there, so it is waited for longer than one that may not be."""
LONGEST_RETRY_AFTER_S = 30.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_SILENT_S = 5.0

_logger = logging.getLogger(__name__)


class Backoff:
    """How long, and how often, one call is tried again: two minutes, ten where a service asks for a slower pace, and as
    often as MLflow's settings allow."""

    def __init__(self, whom: str, total_s: float = RETRY_FOR_S) -> None:
        """`whom` is what a warning says doesn't answer."""
        self._whom = whom
        self._total_s = total_s
        self._throttled_s = RETRY_THROTTLED_FOR_S if total_s == RETRY_FOR_S else total_s
        self._began_s = time.monotonic()
        self._retries = 0
        self._max_retries = max_retries()
        self._has_warned = False

    @property
    def retries(self) -> int:
        """How often the call was tried again so far."""
        return self._retries

    def pause(self, problem: str, retry_after_s: float | None = None, *, is_throttled: bool = False) -> bool:
        """Sleep, then return True; or return False at once, when it has been tried long or often enough."""
        passed_s = time.monotonic() - self._began_s
        left_s = (self._throttled_s if is_throttled else self._total_s) - passed_s
        if left_s <= 0 or (self._max_retries is not None and self._retries >= self._max_retries):
            return False
        if retry_after_s is None:
            longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._retries)
            pause_s = random.uniform(0, longest_s)  # full jitter: a hundred clients mustn't come back as one
        else:
            pause_s = min(retry_after_s, LONGEST_RETRY_AFTER_S) + random.uniform(0, _FIRST_PAUSE_S)
        if passed_s + pause_s > _SILENT_S and not self._has_warned:
            self._has_warned = True
            _logger.warning("%s: %s. Trying again for up to %.0f s", self._whom, problem, left_s)
        self._retries += 1
        pause_s = min(pause_s, left_s)
        _logger.debug("%s: %s. Trying again in %.2f s, the %d. time", self._whom, problem, pause_s, self._retries)
        time.sleep(pause_s)
        return True


class Throttle:
    """When the next request may go to a service that asked its clients to slow down.

    All threads of a process share it. Else each would have to be refused once.
    """

    def __init__(self) -> None:
        self._resume_at_s: dict[str, float] = {}

    def slow_down(self, origin: str, seconds: float) -> None:
        """Let nobody ask `origin` for a while."""
        self._resume_at_s[origin] = time.monotonic() + min(seconds, LONGEST_RETRY_AFTER_S)

    def wait(self, origin: str) -> None:
        """Sleep until `origin` may be asked."""
        resume_at_s = self._resume_at_s.get(origin)
        if resume_at_s is not None and (left_s := resume_at_s - time.monotonic()) > 0:
            time.sleep(left_s + random.uniform(0, _FIRST_PAUSE_S))


THROTTLE = Throttle()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header asks for, given as a number or as a time; None where there is none."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment, now = parsedate_to_datetime(text), parsedate_to_datetime(headers["Date"])
        return max(0.0, (moment - now).total_seconds())  # both by the other side's clock
    except (KeyError, ValueError, TypeError):
        return None
