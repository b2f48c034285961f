"""Times as Azure ML's services write them."""

from datetime import datetime, timezone
from functools import lru_cache


@lru_cache(maxsize=1024)
def iso_time(moment_ms: int) -> str:
    """A time of the records as ISO 8601 in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(moment_ms / 1000, timezone.utc):%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def moment_ms(text: str) -> int:
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


def moment_or_none(text: object) -> int | None:
    """As `moment_ms`, None for what isn't there."""
    return moment_ms(text) if isinstance(text, str) and text else None
