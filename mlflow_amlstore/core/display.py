"""How things of the SDK show themselves: times, and the small HTML table of a notebook."""

from collections.abc import Mapping
from datetime import datetime, timezone
from html import escape


def time_of(moment_ms: int | None) -> datetime | None:
    """A time of the records as a UTC datetime."""
    return None if moment_ms is None else datetime.fromtimestamp(moment_ms / 1000, timezone.utc)


def iso_time(moment_ms: int | None) -> str | None:
    """A time of the records as Azure ML writes it, such as `2026-11-22T10:15:30.123000Z`."""
    time = time_of(moment_ms)
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def facts_table(facts: Mapping[str, object]) -> str:
    """A table of one row, with the names above the values, as HTML; a value that is a URL is a link."""
    heads = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in facts)
    cells = "".join(f"<td style='text-align:left'>{_cell(value)}</td>" for value in facts.values())
    return f"<table><tr>{heads}</tr><tr>{cells}</tr></table>"


def _cell(value: object) -> str:
    text = escape("" if value is None else str(value))
    is_url = text.startswith(("http://", "https://"))
    return f"<a href='{text}' target='_blank' rel='noopener'>{text}</a>" if is_url else text
