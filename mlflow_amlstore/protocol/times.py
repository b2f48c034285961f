"""Times as Azure ML's services write them."""

from datetime import datetime, timezone
from functools import lru_cache

_FIRST_MS, _LAST_MS = 0, 253_402_300_799_999  # 1970 and the end of the year 9999; MLflow takes any 64-bit integer


@lru_cache(maxsize=1024)
def iso_time(time_ms: int) -> str:
    """A time of the records as ISO 8601 in UTC, to the millisecond; the end of what that can say for one beyond it."""
    time_ms = _within(time_ms)
    return f"{datetime.fromtimestamp(time_ms // 1000, timezone.utc):%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _within(time_ms: int) -> int:
    return min(max(time_ms, _FIRST_MS), _LAST_MS)


@lru_cache(maxsize=1024)
def time_ms(text: str) -> int:
    """An ISO 8601 time, UTC where it doesn't say, as records have it. Raises ValueError.

    Of a fraction with seven digits, as .NET writes it, Python 3.10 reads none; it is cut to six.
    """
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        head = f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
    moment = datetime.fromisoformat(head)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def iso_time_or_none(moment: int | None) -> str | None:
    """As `iso_time`, None for what isn't there."""
    return None if moment is None else iso_time(moment)


def datetime_or_none(moment: int | None) -> datetime | None:
    """A time of the records as a UTC datetime, within what that can be."""
    return None if moment is None else datetime.fromtimestamp(_within(moment) / 1000, timezone.utc)


def time_ms_or_none(text: object) -> int | None:
    """As `time_ms`, None for what isn't there."""
    return time_ms(text) if isinstance(text, str) and text else None
