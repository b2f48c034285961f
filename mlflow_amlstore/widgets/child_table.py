"""A run's children as a table, and which of them is the best."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunFilter, RunRecord

_MOST_CHILDREN = 200
_MOST_PARAMS, _MOST_METRICS = 3, 4
_PRIMARY = "primary_metric_config"  # of the SDK's sweeps: {"name": …, "goal": "minimize" or "maximize"}
_MORE_IS_BETTER = ("acc", "auc", "f1", "precision", "recall", "r2", "score", "reward", "bleu", "iou", "map", "ndcg")


class ChildTable:
    """The children of a run, the latest started first; of many the first two hundred."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ended: dict[str, RunRecord] = {}  # which won't change

    def read(self, parent: RunRecord) -> dict[str, Any] | None:
        """Return the table; None for a run without children. `best` names the metric that says which is the best."""
        records = self._read()
        if not records:
            return None
        params = _common(record.params for record in records)
        differing = [name for name in params if len({record.params.get(name) for record in records}) > 1]
        of_metrics = [{point.name: point.value for point in record.metrics} for record in records]
        metrics = [name for name in _common(of_metrics) if not name.startswith("system/")]
        name, goal = _primary(parent, metrics)
        shown = list(dict.fromkeys([*([name] if name in metrics else []), *metrics]))[:_MOST_METRICS]
        return {
            "params": (differing or params)[:_MOST_PARAMS],
            "metrics": shown,
            "best": {"metric": name, "goal": goal} if name in shown else None,
            "rows": [_row(record, values) for record, values in zip(records, of_metrics, strict=True)],
            "is_cut": len(records) == _MOST_CHILDREN,
        }

    def _read(self) -> Sequence[RunRecord]:
        runs = self._run._records.runs
        found = runs.find(RunFilter(parent_run_id=self._run.id), max_results=_MOST_CHILDREN).items
        if self._run.experiment.workspace.path is not None or any(record.metrics for record in found):
            return found
        listed = []  # a service lists runs without their metrics
        for record in found:
            key = record.info.run_id
            whole = self._ended.get(key) or runs.whole(key)
            if whole.info.status in ENDED:
                self._ended[key] = whole
            listed.append(whole)
        return listed


def best_of(table: dict[str, Any]) -> str | None:
    """The id of the best run of a table; None where none has the metric that says so."""
    if table["best"] is None:
        return None
    metric, goal = table["best"]["metric"], table["best"]["goal"]
    known = [(row["metrics"][metric], row["run_id"]) for row in table["rows"] if _is_number(row["metrics"].get(metric))]
    if not known:
        return None
    return str((max if goal == "maximize" else min)(known, key=lambda each: each[0])[1])


def _row(record: RunRecord, values: dict[str, float]) -> dict[str, Any]:
    info = record.info
    return {
        "run_id": info.run_id,
        "name": info.name,
        "status": info.status.value,
        "started_ms": info.start_ms,
        "ended_ms": info.end_ms,
        "params": record.params,
        "metrics": {name: value if math.isfinite(value) else str(value) for name, value in values.items()},
    }


def _primary(parent: RunRecord, metrics: Sequence[str]) -> tuple[str, str]:
    """The metric by which the children are compared, and whether more of it is better: as the sweep says, or else the
    one that most of them have, by its name."""
    for facts in (parent.properties, parent.tags):
        with suppress(KeyError, ValueError, TypeError):
            given = json.loads(facts[_PRIMARY])
            return str(given["name"]), "maximize" if str(given["goal"]).lower() == "maximize" else "minimize"
    if not metrics:
        return "", "minimize"
    name = metrics[0]
    return name, "maximize" if any(word in name.lower() for word in _MORE_IS_BETTER) else "minimize"


def _common(of_runs: Iterable[dict[str, Any]]) -> list[str]:
    """The names that these have, the most common first."""
    return [name for name, _ in Counter(name for names in of_runs for name in names).most_common()]


def _is_number(value: object) -> bool:
    return isinstance(value, float | int)
