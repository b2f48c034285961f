"""The curves of a metric that is a document of Azure ML's schemas, wherever they are drawn."""

import itertools
from contextlib import suppress
from typing import Any

from mlflow_amlstore.records.types import MetricKind


def document_curves(kind: MetricKind, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The curves of an accuracy table (ROC, precision and recall), residuals or predictions.

    The documents are as Azure ML's schemas have them: an accuracy table has, of each class, counts of true and false
    positives and negatives at each threshold; residuals and predictions have bins.
    """
    curves: list[dict[str, Any]] = []
    with suppress(KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        if kind is MetricKind.ACCURACY_TABLE:
            roc: list[dict[str, Any]] = []
            recall: list[dict[str, Any]] = []
            for label, table in zip(data["class_labels"], data["probability_tables"], strict=False):
                rates = [_rates(*row) for row in table]
                name = str(label)
                roc.append({"name": name, "x": [rate[1] for rate in rates], "y": [rate[0] for rate in rates]})
                recall.append({"name": name, "x": [rate[0] for rate in rates], "y": [rate[2] for rate in rates]})
            curves.append(
                {"heading": "ROC", "x_name": "false positive rate", "y_name": "true positive rate", "series": roc}
            )
            curves.append(
                {"heading": "Precision and recall", "x_name": "recall", "y_name": "precision", "series": recall}
            )
        elif kind is MetricKind.RESIDUALS:
            edges, counts = data["bin_edges"], data["bin_counts"]
            middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
            series = [{"name": "count", "x": middles, "y": counts}]
            curves.append({"heading": "Residuals", "x_name": "residual", "y_name": "count", "series": series})
        elif kind is MetricKind.PREDICTIONS:
            averages, edges = data["bin_averages"], data["bin_edges"]
            middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
            series = [
                {"name": "predicted", "x": middles, "y": averages},
                {"name": "ideal", "x": middles, "y": middles},
            ]
            curves.append({"heading": "Predictions", "x_name": "true", "y_name": "predicted", "series": series})
    return curves


def _rates(tp: float, fp: float, tn: float, fn: float) -> tuple[float, float, float]:
    """The true positive rate, the false positive rate and the precision of counts."""
    return (
        tp / (tp + fn) if tp + fn else 0.0,
        fp / (fp + tn) if fp + tn else 0.0,
        tp / (tp + fp) if tp + fp else 1.0,
    )
