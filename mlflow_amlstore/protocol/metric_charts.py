"""Which chart a metric gets, wherever it is drawn: in Studio, in a notebook, in a terminal.

The rules are those of Azure ML's documents (`Log & view metrics`): a list, or a number logged again and again, is a
line; a row or table with two numeric columns is an x-y line; with more, the axes are chosen; strings are a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_amlstore.records.types import GRID_KINDS, MetricKind

_OF_FILES = {
    MetricKind.IMAGE: "image",
    MetricKind.CONFUSION_MATRIX: "matrix",
    MetricKind.ACCURACY_TABLE: "document",
    MetricKind.RESIDUALS: "document",
    MetricKind.PREDICTIONS: "document",
}


class Series(Protocol):
    """What is known of a metric's column: its name, "" in what is no grid, and its last number, None for text."""

    @property
    def column(self) -> str: ...

    @property
    def last_value(self) -> float | None: ...


@dataclass(frozen=True)
class Chart:
    """A metric and its chart: line, xy, axes, table, image, matrix or document."""

    name: str
    metric_kind: MetricKind
    kind: str


def chart_of(name: str, kind: MetricKind, columns: Sequence[Series]) -> Chart:
    """The chart of a metric with these columns."""
    if kind in _OF_FILES:
        return Chart(name, kind, _OF_FILES[kind])
    numeric = sum(column.last_value is not None for column in columns)
    if kind not in GRID_KINDS:
        return Chart(name, kind, "line" if numeric else "table")
    if numeric < 2:
        return Chart(name, kind, "table")
    return Chart(name, kind, "xy" if numeric == 2 and len(columns) == 2 else "axes")
