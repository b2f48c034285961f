"""Numbers, times and sizes as a person reads them."""

import math
from datetime import datetime, timezone

from mlflow_amlstore.records.types import RunStatus

_UNITS = ("B", "kB", "MB", "GB", "TB")
_ACTIVE = (RunStatus.RUNNING, RunStatus.FINALIZING, RunStatus.STARTING, RunStatus.PREPARING)


def number(value: float | int | None) -> str:
    """A number with as many digits as tell it apart: at most six, integers whole."""
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if value.is_integer() and abs(value) < 1e9:
            value = int(value)
        else:
            return f"{value:.6g}"
    return f"{value:,}".replace(",", " ")


def duration(ms: int | None) -> str:
    """A length of time as `4:12` or `1:02:03`; below ten seconds with a tenth, as `0:03.4`."""
    if ms is None:
        return ""
    seconds, rest_ms = divmod(max(ms, 0), 1000)
    if seconds < 10:
        return f"0:0{seconds}.{rest_ms // 100}"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def time(ms: int | None) -> str:
    """A moment as `2026-11-28 14:02` (UTC; the browser makes it local)."""
    return "" if ms is None else _utc(ms).strftime("%Y-%m-%d %H:%M")


def iso_time(ms: int | None) -> str:
    """A moment as HTML's `datetime` has it."""
    return "" if ms is None else _utc(ms).isoformat().replace("+00:00", "Z")


def size(size_bytes: int) -> str:
    """A size as `1.2 MB`."""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes all")


def look_of(status: RunStatus) -> str:
    """Which of five looks a status has: running, queued, completed, failed or canceled."""
    if status in _ACTIVE:
        return "running"
    if status in (RunStatus.NOT_STARTED, RunStatus.QUEUED):
        return "queued"
    return "canceled" if status is RunStatus.CANCEL_REQUESTED else status.value.lower()


def _utc(ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(ms / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):  # beyond the calendar, which a client may have sent
        return datetime.fromtimestamp(0, timezone.utc) if ms < 0 else datetime(9999, 12, 31, tzinfo=timezone.utc)
