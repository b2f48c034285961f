"""What commands print: tables on a terminal, tab-separated lines in a pipe, JSON when asked."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click

_MIN_WIDTH = 6
_MIN_WRAPPED_WIDTH = 10
_GAP = 2  # blanks between the columns of a table
_MAX_WRAPPED_LENGTH = 500
_INVISIBLE = (0x61C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_UNPRINTED = (
    {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
    | {code: f"\\u{code:04x}" for code in _INVISIBLE}  # some of which turn the text around them (Unicode TR 36)
    | dict.fromkeys(map(ord, "\t\r\n"), " ")
)


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    shorten: Mapping[str, int] | None = None,
    wrap: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> None:
    """Print rows: a table on a terminal, else one tab-separated line each, under a line of column names.

    A table too wide for the terminal loses the columns in `drop`, in turn, and says which. Then it has its cells cut:
    first those of the columns in `shorten`, in turn, down to the width given there, then the widest. Columns in `wrap`
    go on in more lines instead.
    """
    headings = [one_line(name) for name in columns]
    texts = [[one_line(text(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_table(headings, texts, shorten or {}, wrap, drop)
        return
    for line in (headings, *texts):
        click.echo("\t".join(line))


def _print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    shorten: Mapping[str, int],
    wrap: Sequence[str],
    drop: Sequence[str],
) -> None:
    from rich.cells import cell_len  # slow to import, and not needed in a pipe
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    headings = _short_headings(columns)
    # By position, because two columns may have one name.
    widths = {
        index: max(cell_len(cell) for cell in cells)
        for index, cells in enumerate(zip(headings, *rows, strict=True))
        if columns[index] not in wrap
    }
    least = {index: min(widths[index], shorten[name]) for name in shorten for index in widths if columns[index] == name}
    droppable = [index for name in drop for index in widths if columns[index] == name]
    dropped: list[int] = []
    while droppable and sum((widths | least).values()) + _GAP * (len(widths) - 1) > console.width:
        dropped.append(droppable.pop(0))
        widths.pop(dropped[-1])
        least.pop(dropped[-1], None)
    shown = [index for index in range(len(columns)) if index not in dropped]
    available = console.width - _GAP * (len(shown) - 1)
    widths = _fitted(widths, available - _MIN_WRAPPED_WIDTH * len(wrap), least)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for index in shown:
        if columns[index] in wrap:
            table.add_column(Text(headings[index]), overflow="fold", min_width=_MIN_WRAPPED_WIDTH)
        else:
            heading = _end(headings[index], widths[index]) if "." in columns[index] else headings[index]
            table.add_column(Text(heading), no_wrap=True, overflow="ellipsis", max_width=widths[index])
    for row in rows:
        # Text, because in a plain string rich would read [brackets] as markup.
        table.add_row(*[Text(_cut(row[index], _MAX_WRAPPED_LENGTH)) for index in shown])
    console.print(table)
    if dropped:
        click.echo(f"Too wide for this terminal: {', '.join(columns[index] for index in sorted(dropped))}", err=True)


def _short_headings(columns: Sequence[str]) -> list[str]:
    """`metrics.loss` as `loss`, where no other column would be called so too."""
    short = [name.partition(".")[2] or name for name in columns]
    return [name if short.count(name) == 1 else whole for name, whole in zip(short, columns, strict=True)]


def _fitted(widths: Mapping[int, int], available: int, shorten: Mapping[int, int]) -> dict[int, int]:
    fitted = dict(widths)
    for column, least in shorten.items():
        excess = sum(fitted.values()) - available
        fitted[column] = min(fitted[column], max(least, fitted[column] - max(0, excess)))
    while sum(fitted.values()) > available:
        widest = max(fitted, key=fitted.__getitem__)
        if fitted[widest] <= _MIN_WIDTH:
            break
        fitted[widest] -= 1
    return fitted


def terminal_width() -> int | None:
    """The characters in a line of the terminal; None where the output goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console().width


def columns_that_fit(width: int) -> int:
    """How many columns a table of this width has room for, however their cells are cut."""
    return max(1, (width + _GAP) // (_MIN_WIDTH + _GAP))


def print_json(value: object) -> None:
    """Print JSON."""
    click.echo(json_text(value))


def json_text(value: object) -> str:
    """JSON, with NaN and ±Inf as the strings that MLflow's REST API has for them."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def text(cell: object) -> str:
    """A value as a person reads it."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return str(cell)


def one_line(cell: str) -> str:
    """A text without what would break the line, command the terminal, or show other letters in another order."""
    return cell.translate(_UNPRINTED)


def time_text(time_ms: int | None) -> str:
    """A time in UTC, to the second."""
    if time_ms is None:
        return ""
    try:
        return datetime.fromtimestamp(time_ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"{time_ms} ms"


def duration_text(start_ms: int | None, end_ms: int | None) -> str:
    """How long something took; nothing where that isn't known."""
    if start_ms is None or end_ms is None:
        return ""
    seconds = (end_ms - start_ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def size_text(size_bytes: int) -> str:
    """A size in bytes, KiB, MiB or GiB."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _cut(cell: str, limit: int) -> str:
    return cell if len(cell) <= limit else f"{cell[:limit]}… ({len(cell)} characters)"


def _end(heading: str, width: int) -> str:
    return heading if len(heading) <= width else f"…{heading[1 - width :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
