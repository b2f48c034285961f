"""The figures of `studio.py`, one row for each, and the table of them."""

from collections.abc import Sequence

from service_table import Bar, Row, notes, number
from studio_servers import MLFLOW, OURS, PRODUCTS

HEAD = ["", "unit", *PRODUCTS, "× mlflow", "× best peer", "spread", "bar", "met"]
LEFT = (0, 1, len(HEAD) - 2, len(HEAD) - 1)


def row(what: str, unit: str, bar: Bar | None = None, *, more_is_better: bool = False) -> Row:
    """A figure that each product may have."""
    return Row(what, unit, more_is_better, bar, {product: [] for product in PRODUCTS})


def times_best_peer(figure: Row) -> float | None:
    """How many times better we are than the best of the others."""
    found = [times for product in PRODUCTS if product != OURS and (times := figure.times(product))]
    return min(found, default=None)


def cells(figure: Row) -> list[str]:
    times, best, spread, met = figure.times(MLFLOW), times_best_peer(figure), figure.spread(), figure.is_met()
    return [
        figure.what,
        figure.unit,
        *(number(figure.median(product)) for product in PRODUCTS),
        "" if times is None else f"{times:.1f}×",
        "" if best is None else f"{best:.1f}×",
        "" if spread is None else f"{spread:.0%}",
        figure.bar_text(),
        "" if met is None else ("yes" if met else "NO"),
    ]


def print_table(sections: dict[str, Sequence[Row]]) -> None:
    """One table of all sections that have figures, and the notes below it."""
    lines = [HEAD]
    for name, rows in sections.items():
        measured = [figure for figure in rows if any(figure.rounds.values())]
        if measured:
            lines += [[name.upper(), *[""] * (len(HEAD) - 1)], *map(cells, measured)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    for line in lines:
        padded = (
            f"{cell:<{width}}" if index in LEFT else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(padded).rstrip())
    for text in notes:
        print(f"Note: {text}")
