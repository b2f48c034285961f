"""What Azure ML calls the kinds of metrics, and how it writes their values (azureml-wire.md, section 6.4)."""

import math
from collections.abc import Set

from mlflow_amlstore.records.types import Cell, MetricKind

UX_TYPES = {
    MetricKind.SCALAR: "azureml.v1.scalar",
    MetricKind.LIST: "azureml.v1.list",
    MetricKind.ROW: "azureml.v1.table",
    MetricKind.TABLE: "azureml.v1.table",
    MetricKind.IMAGE: "azureml.v2.image",
    MetricKind.CONFUSION_MATRIX: "azureml.v2.confusion_matrix",
    MetricKind.ACCURACY_TABLE: "azureml.v2.accuracy_table",
    MetricKind.RESIDUALS: "azureml.v2.residuals",
    MetricKind.PREDICTIONS: "azureml.v2.predictions",
}
KINDS = {ux_type: kind for kind, ux_type in UX_TYPES.items()}  # a table for what may have been a row, too
COLUMN_TYPES: dict[type, str] = {float: "double", int: "int", bool: "bool", str: "string", type(None): "none"}
"""The type of a column by that of its cells, where they have one alone."""
FLOAT_TYPES = ("double", "float")
ARTIFACT_TYPE = "Artifact"
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The numbers that JSON has none for, by the texts that answers have instead."""


def artifact_id(run_id: str, path: str = "") -> str:
    """The address of a run's file that is a metric's value."""
    return f"aml://artifactId/ExperimentRun/dcid.{run_id}/{path}"


def column_type(types: Set[type]) -> str:
    """The type of a column whose cells have these types."""
    if len(types) == 1:
        return COLUMN_TYPES[next(iter(types))]
    return "double" if types and types <= {int, float} else "string" if types else "none"


def finite(cell: Cell) -> Cell:
    """A cell as answers have it: a text of `NOT_FINITE` for a number that JSON has none for."""
    if not isinstance(cell, float) or math.isfinite(cell):
        return cell
    return "NaN" if math.isnan(cell) else "Infinity" if cell > 0 else "-Infinity"
