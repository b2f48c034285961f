"""The small HTML tables that a notebook shows for runs, experiments and models."""

from collections.abc import Mapping
from html import escape


def facts_table(facts: Mapping[str, object]) -> str:
    """A table of one row as HTML, with the names above the values. A URL is a link."""
    heads = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in facts)
    cells = "".join(f"<td style='text-align:left'>{_cell(value)}</td>" for value in facts.values())
    return f"<table><tr>{heads}</tr><tr>{cells}</tr></table>"


def _cell(value: object) -> str:
    text = escape("" if value is None else str(value))
    is_url = text.startswith(("http://", "https://"))
    return f"<a href='{text}' target='_blank' rel='noopener'>{text}</a>" if is_url else text
