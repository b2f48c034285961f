"""The small HTML tables that a notebook shows for workspaces, runs, experiments and models."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

MAX_ROWS = 30  # as many as a person reads
_LEFT = "style='text-align:left'"


def facts_table(facts: Mapping[str, object]) -> str:
    """A table of one row as HTML, with the names above the values. A URL is a link."""
    return table(list(facts), [list(facts.values())])


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML. A URL is a link."""
    head = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td {_LEFT}>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def rest_of(values: Collection[object], what: str) -> list[Sequence[object]]:
    """The row that stands for what is more than `MAX_ROWS`; none where that is nothing."""
    return [("…", f"{len(values)} {what}")] if len(values) > MAX_ROWS else []


def _cell(value: object) -> str:
    text = escape("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value))
    is_url = text.startswith(("http://", "https://"))
    return f"<a href='{text}' target='_blank' rel='noopener'>{text}</a>" if is_url else text
