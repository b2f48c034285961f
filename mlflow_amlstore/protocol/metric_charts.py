"""Which chart a metric gets, wherever it is drawn: in Studio, in a notebook, in a terminal, in a file. What is drawn of
its points, so that no spike is hidden, is said by `records.curves`.

The rules are those of Azure ML's documents (`Log & view metrics`): a number logged once is a number; a list, or a
number logged again and again, is a line; a row or table with two numeric columns is an x-y line; with more, the axes
are chosen; strings are a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mlflow_amlstore.records.types import GRID_KINDS, Cell, MetricKind, MetricRecord

_OF_FILES = {
    MetricKind.IMAGE: "image",
    MetricKind.CONFUSION_MATRIX: "matrix",
    MetricKind.ACCURACY_TABLE: "document",
    MetricKind.RESIDUALS: "document",
    MetricKind.PREDICTIONS: "document",
}
_MOST_BARS = 100  # groups of them


class Series(Protocol):
    """What is known of a metric's column: its name, "" in what is no grid, its last number, None for text, and whether
    that is all there is."""

    @property
    def column(self) -> str: ...

    @property
    def last_value(self) -> float | None: ...

    @property
    def is_single(self) -> bool: ...


@dataclass(frozen=True)
class Chart:
    """A metric and its chart: number, line, xy, axes, table, image, matrix or document."""

    name: str
    metric_kind: MetricKind
    kind: str


def chart_of(name: str, kind: MetricKind, columns: Sequence[Series]) -> Chart:
    """The chart of a metric with these columns."""
    if kind in _OF_FILES:
        return Chart(name, kind, _OF_FILES[kind])
    numeric = sum(column.last_value is not None for column in columns)
    if kind not in GRID_KINDS:
        of_numbers = "number" if columns[0].is_single else "line"
        return Chart(name, kind, of_numbers if numeric else "table")
    if numeric < 2:
        return Chart(name, kind, "table")
    return Chart(name, kind, "xy" if numeric == 2 and len(columns) == 2 else "axes")


class DefaultAxes(NamedTuple):
    """Columns of a grid: what lies on the x axis, "" for the row's number, and the heights over it."""

    x: str
    ys: list[str]
    are_bars: bool


def chart_of_record(metric: MetricRecord) -> Chart:
    """The chart of a metric whose values are at hand."""
    columns = [_Column(name, _last_number(cells), len(cells) == 1) for name, cells in metric.columns.items()]
    return chart_of(metric.name, metric.kind, columns)


def default_axes(metric: MetricRecord, numeric: Sequence[str]) -> DefaultAxes:
    """The axes of a grid where nobody chooses them: heights are its `numeric` columns, of which there is one at least.

    A column of texts is a category, with bars, unless the rows are more than bars have room for (notes, say). Else the
    first numeric column is x, or the row's number where it is alone. What MLflow logged under the grid's own name, the
    column "", has nothing to lie over.
    """
    for name, cells in metric.columns.items():
        if name not in numeric and len(cells) <= _MOST_BARS and any(isinstance(cell, str) for cell in cells):
            return DefaultAxes(name, list(numeric), are_bars=True)
    first, *others = numeric
    return DefaultAxes(first, others, are_bars=False) if others else DefaultAxes("", [first], are_bars=False)


@dataclass(frozen=True)
class _Column:
    column: str
    last_value: float | None
    is_single: bool


def _last_number(cells: Sequence[Cell]) -> float | None:
    return next((cell for cell in reversed(cells) if isinstance(cell, float | int)), None)
