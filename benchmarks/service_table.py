"""The figures of `service.py`, one row for each, and the table of them."""

import re
import statistics
import sys
from dataclasses import dataclass, field

OURS, MLFLOW, FLOOR = "amlstore", "mlflow", "floor"
COLUMNS = (OURS, MLFLOW, FLOOR)

notes: list[str] = []
"""What no figure says, such as requests that failed."""


def note(text: str) -> None:
    """Say it now, and below the table and in the report, without the tokens of the servers that were."""
    text = re.sub(r"token=[\w.\-]+", "token=REDACTED", text)
    notes.append(text)
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Bar:
    """What a figure was built to meet: the figure itself, times MLflow's, a share of the floor's; 0 for none."""

    value: float = 0
    times_mlflow: float = 0
    of_floor: float = 0


@dataclass
class Row:
    """One figure, of each column and round."""

    what: str
    unit: str
    more_is_better: bool
    bar: Bar | None = None
    rounds: dict[str, list[float]] = field(default_factory=lambda: {column: [] for column in COLUMNS})

    def median(self, column: str) -> float | None:
        rounds = self.rounds.get(column)
        return statistics.median(rounds) if rounds else None

    def times(self, column: str) -> float | None:
        """How many times better we are than a column."""
        ours, theirs = self.median(OURS), self.median(column)
        if not ours or not theirs:
            return None
        return ours / theirs if self.more_is_better else theirs / ours

    def spread(self) -> float | None:
        """How far our rounds lie apart, beside their median."""
        ours = self.rounds[OURS]
        return (max(ours) - min(ours)) / statistics.median(ours) if len(ours) > 1 else None

    def is_met(self) -> bool | None:
        ours, bar = self.median(OURS), self.bar
        if ours is None or bar is None:
            return None
        value_met = not bar.value or (ours >= bar.value if self.more_is_better else ours <= bar.value)
        others = ((bar.times_mlflow, self.times(MLFLOW)), (bar.of_floor, self.times(FLOOR)))
        if any(wanted and found is None for wanted, found in others):
            return None
        return value_met and all((found or 0) >= wanted for wanted, found in others)

    def bar_text(self) -> str:
        bar = self.bar or Bar()
        parts = [f"{'≥' if self.more_is_better else '≤'} {number(bar.value)}"] if bar.value else []
        parts += [f"≥ {bar.times_mlflow:g}×"] if bar.times_mlflow else []
        parts += [f"≥ {bar.of_floor:.0%} of floor"] if bar.of_floor else []
        return ", ".join(parts)

    def cells(self) -> list[str]:
        times, share, spread, met = self.times(MLFLOW), self.times(FLOOR), self.spread(), self.is_met()
        return [
            self.what,
            self.unit,
            *(number(self.median(column)) for column in COLUMNS),
            "" if times is None else f"{times:.1f}×",
            "" if share is None else f"{share:.0%}",
            "" if spread is None else f"{spread:.0%}",
            self.bar_text(),
            "" if met is None else ("yes" if met else "no"),
        ]


def number(value: float | None) -> str:
    """Three digits or more, with thin groups."""
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", " ")


HEAD = ["", "unit", "amlstore", "mlflow server", "floor", "× mlflow", "of floor", "spread", "bar", "met"]
LEFT = (0, 1, 8, 9)


def print_table(sections: dict[str, list[Row]]) -> None:
    """One table of all sections that have figures. For files the floor is curl and a plain file server."""
    measured = {name: [row for row in rows if any(row.rounds.values())] for name, rows in sections.items()}
    lines = [HEAD]
    for name, rows in measured.items():
        if rows:
            lines += [[name.upper(), *[""] * (len(HEAD) - 1)], *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    for line in lines:
        cells = (
            f"{cell:<{width}}" if index in LEFT else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())
    for text in notes:
        print(f"Note: {text}")
