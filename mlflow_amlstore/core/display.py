"""The small HTML tables and charts that a notebook shows for workspaces, runs, experiments and models."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

from mlflow_amlstore.records.text_direction import plain
from mlflow_amlstore.records.types import Curve

MAX_ROWS = 30  # as many as a person reads
_LEFT = "style='text-align:left'"
_WIDTH, _HEIGHT, _MARGIN = 240, 80, 4  # of a chart, in pixels


def facts_table(facts: Mapping[str, object]) -> str:
    """A table of one row as HTML, with the names above the values. A URL is a link."""
    return table(list(facts), [list(facts.values())])


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML. A URL is a link."""
    head = "".join(f"<th {_LEFT}>{_shown(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td {_LEFT}>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def line_charts(curves: Mapping[str, Curve]) -> str:
    """A small chart for each name as HTML, without scripts: a line with gaps for NaN, and triangles for ±Inf."""
    boxes = "".join(
        f"<figure style='display:inline-block;margin:4px 12px 4px 0'><figcaption>{_shown(name)}</figcaption>"
        f"{_line_chart(name, curve)}</figure>"
        for name, curve in curves.items()
    )
    return f"<div>{boxes}</div>"


def _line_chart(name: str, curve: Curve) -> str:
    xs = [*curve.xs, *(x for x, _ in curve.infinities)]
    ys = [y for y in curve.ys if y is not None]
    first, last = min(xs), max(xs)
    low, high = (min(ys), max(ys)) if ys else (0.0, 0.0)

    def place(x: int) -> str:
        share = (x - first) / (last - first) if last > first else 0.5
        return f"{_MARGIN + share * (_WIDTH - 2 * _MARGIN):.1f}"

    def height(y: float) -> str:
        share = (y / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5  # the range may overflow
        return f"{_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN):.1f}"

    path, is_broken = [], True
    for x, y in zip(curve.xs, curve.ys, strict=True):
        if y is not None:
            path.append(f"{'M' if is_broken else 'L'}{place(x)} {height(y)}")
        is_broken = y is None
    marks = "".join(
        f"<path d='M{place(x)} {_HEIGHT - _MARGIN if sign < 0 else _MARGIN}l-3 {6 * sign}h6z' "
        f"fill='currentColor'><title>{'Inf' if sign > 0 else '-Inf'} at {x}</title></path>"
        for x, sign in curve.infinities
    )
    said = f"{name}: from {low:.6g} to {high:.6g}" if ys else f"{name}: no finite number"
    said = _shown(said)
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' "
        f"aria-label='{said}'><title>{said}</title>"
        f"<path d='{''.join(path)}' fill='none' stroke='currentColor' stroke-linecap='round' stroke-width='1.5'/>"
        f"{marks}</svg>"
    )


def rest_of(values: Collection[object], what: str) -> list[Sequence[object]]:
    """The row that stands for what is more than `MAX_ROWS`; none where that is nothing."""
    return [("…", f"{len(values)} {what}")] if len(values) > MAX_ROWS else []


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    is_url = text.startswith(("http://", "https://"))
    shown = _shown(text)
    return f"<a href='{escape(text)}' target='_blank' rel='noopener'>{shown}</a>" if is_url else shown


def _shown(text: str) -> str:
    return escape(plain(text))
