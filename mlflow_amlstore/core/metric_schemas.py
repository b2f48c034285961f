"""The schemas of the metrics that are JSON documents, as Azure ML's charts read them.

Shapes and versions are those of the SDK's reference for `Run.log_confusion_matrix`, `log_accuracy_table`,
`log_residuals` and `log_predictions`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import MetricKind

_SCHEMA = "schema_type"
_VERSION = "schema_version"
_TABLE_CELLS = 4  # true positives, false positives, true negatives, false negatives


@dataclass(frozen=True)
class _Schema:
    name: str
    versions: tuple[str, ...]
    fields: tuple[str, ...]
    check: Callable[[str, Mapping[str, Any]], None]


def checked_document(kind: MetricKind, name: str, value: object) -> dict[str, Any]:
    """The document of a metric, as plain JSON values, from a dict or a JSON text.

    Raises InvalidValue that names the metric, the field and the rule.
    """
    schema = _SCHEMAS[kind]
    field = f"metric {name!r}"
    document = _plain(field, _parsed(field, value))
    if not isinstance(document, dict):
        raise InvalidValue(field, value, f"must be a dict or a JSON object with {_SCHEMA}, {_VERSION} and data")
    for key in (_SCHEMA, _VERSION, "data"):
        if key not in document:
            raise InvalidValue(field, document, f"must have {key!r}")
    if document[_SCHEMA] != schema.name:
        raise InvalidValue(f"{field}, {_SCHEMA}", document[_SCHEMA], f"must be {schema.name!r}")
    if document[_VERSION] not in schema.versions:
        raise InvalidValue(f"{field}, {_VERSION}", document[_VERSION], f"must be one of {', '.join(schema.versions)}")
    data = document["data"]
    if not isinstance(data, dict):
        raise InvalidValue(f"{field}, data", data, f"must be a dict with {', '.join(schema.fields)}")
    for key in schema.fields:
        if not isinstance(data.get(key), list):
            raise InvalidValue(f"{field}, data", data.get(key), f"must have a list {key!r}")
    schema.check(field, data)
    return document


def _parsed(field: str, value: object) -> object:
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidValue(field, value, f"must be JSON ({error})") from None


def _plain(field: str, value: object) -> Any:
    """`value` with NumPy's arrays and scalars as lists and numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(field, item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(field, item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidValue(field, value, "must be what JSON can hold: numbers, strings, lists and dicts")


def _check_confusion_matrix(field: str, data: Mapping[str, Any]) -> None:
    labels, matrix = data["class_labels"], data["matrix"]
    _check_length(f"{field}, matrix", matrix, len(labels), "one row for each of class_labels")
    for row in matrix:
        _check_length(f"{field}, matrix", row, len(labels), "one number for each of class_labels in a row")
        _check_numbers(f"{field}, matrix", row)


def _check_accuracy_table(field: str, data: Mapping[str, Any]) -> None:
    for tables, thresholds in (
        ("probability_tables", "probability_thresholds"),
        ("percentile_tables", "percentile_thresholds"),
    ):
        _check_numbers(f"{field}, {thresholds}", data[thresholds])
        _check_length(f"{field}, {tables}", data[tables], len(data["class_labels"]), "one table for each class label")
        for table in data[tables]:
            _check_length(f"{field}, {tables}", table, len(data[thresholds]), f"one row for each of {thresholds}")
            for row in table:
                _check_length(f"{field}, {tables}", row, _TABLE_CELLS, "TP, FP, TN and FN in a row")
                _check_numbers(f"{field}, {tables}", row)


def _check_bins(field: str, data: Mapping[str, Any], per_bin: Sequence[str]) -> None:
    edges = data["bin_edges"]
    _check_numbers(f"{field}, bin_edges", edges)
    for key in per_bin:
        _check_length(f"{field}, {key}", data[key], len(edges) - 1, "one value for each bin: one less than bin_edges")
        _check_numbers(f"{field}, {key}", data[key])


def _check_length(field: str, values: object, length: int, what: str) -> None:
    if not isinstance(values, list) or len(values) != length:
        raise InvalidValue(field, values, f"must have {what} ({max(0, length)})")


def _check_numbers(field: str, values: Sequence[object]) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidValue(field, value, "must be a number")


_SCHEMAS = {
    MetricKind.CONFUSION_MATRIX: _Schema(
        "confusion_matrix", ("1.0.0",), ("class_labels", "matrix"), _check_confusion_matrix
    ),
    MetricKind.ACCURACY_TABLE: _Schema(
        "accuracy_table",
        ("1.0.0", "1.0.1"),
        ("probability_tables", "percentile_tables", "probability_thresholds", "percentile_thresholds", "class_labels"),
        _check_accuracy_table,
    ),
    MetricKind.RESIDUALS: _Schema(
        "residuals", ("1.0.0",), ("bin_edges", "bin_counts"), partial(_check_bins, per_bin=("bin_counts",))
    ),
    MetricKind.PREDICTIONS: _Schema(
        "predictions",
        ("1.0.0",),
        ("bin_averages", "bin_errors", "bin_counts", "bin_edges"),
        partial(_check_bins, per_bin=("bin_averages", "bin_errors", "bin_counts")),
    ),
}
