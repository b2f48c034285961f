"""What commands print: tables on a terminal, tab-separated lines in a pipe, JSON when asked."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print rows: a table on a terminal, else one tab-separated line each, under a line of column names."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*[text(cell) for cell in row])
        Console().print(table)
        return
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(_one_line(text(cell)) for cell in row))


def print_json(value: object) -> None:
    """Print JSON; NaN and ±Inf as the strings that MLflow's REST API has for them."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def text(cell: object) -> str:
    """A value as a person reads it."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return str(cell)


def time_text(moment_ms: int | None) -> str:
    """A time in UTC, to the second."""
    if moment_ms is None:
        return ""
    return datetime.fromtimestamp(moment_ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def size_text(size_bytes: int) -> str:
    """A size in bytes, KiB, MiB or GiB."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _one_line(cell: str) -> str:
    return cell.replace("\t", " ").replace("\r", " ").replace("\n", " ")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
