"""Columns of a table of runs: what of a run they show, how they are written in a URL, and how they sort.

In a URL a column is `metrics.loss:min`, `params.alpha`, `tags.team`, or one of the words of `FACTS`; a list of them has
commas between, so each is percent-encoded first.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.types import DESCRIPTION_TAG, MetricSummary, RunRecord
from mlflow_amlstore.studio import words

FACTS = {
    "started": "Started",
    "duration": "Duration",
    "user": "Who",
    "experiment": "Experiment",
    "ended": "Ended",
    "id": "Run id",
    "note": "Note",
}
_ATTRIBUTES = {
    "name": "run_name",
    "status": "status",
    "started": "start_time",
    "ended": "end_time",
    "duration": "duration",
    "user": "user_id",
    "experiment": "experiment_id",
    "id": "run_id",
}
_ENTITIES = {"metrics": Entity.METRIC, "params": Entity.PARAM, "tags": Entity.TAG}
_MOST = 50
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Cell(msgspec.Struct, frozen=True):
    """What stands in a cell, and the number that it is, where it is one."""

    text: str
    number: float | None = None
    time_ms: int | None = None


@dataclass(frozen=True)
class Column:
    """One column. `kind` is metrics, params, tags or fact; `of` says which of a metric's values."""

    kind: str
    name: str
    of: Of = Of.LAST

    @property
    def spec(self) -> str:
        """The column as a URL has it."""
        if self.kind == "fact":
            return self.name
        return f"{self.kind}.{self.name}" + ("" if self.of is Of.LAST else f":{self.of.value}")

    @property
    def heading(self) -> str:
        return FACTS.get(self.name, self.name.capitalize()) if self.kind == "fact" else self.name

    @property
    def label(self) -> str:
        """The column where it stands alone: `loss, min`."""
        if self.kind == "fact":
            return self.heading.lower()
        return self.name if self.of is Of.LAST else f"{self.name}, {self.of.value}"

    def is_number(self, cells: Iterable[Cell]) -> bool:
        """Whether these cells of it are read from the right: all that have anything are numbers."""
        if self.kind == "fact":
            return self.name == "duration"
        return self.kind == "metrics" or all(cell.number is not None for cell in cells if cell.text)

    def cell(self, run: RunRecord, metrics: dict[str, MetricSummary], experiments: dict[str, str]) -> Cell:
        """The cell of a run."""
        if self.kind == "metrics":
            summary = metrics.get(self.name)
            value = None if summary is None else value_of(summary, self.of)
            return Cell(words.number(value), value)
        if self.kind == "params":
            return _text_cell(run.params.get(self.name, ""))
        if self.kind == "tags":
            return _text_cell(run.tags.get(self.name, ""))
        return self._fact(run, experiments)

    def _fact(self, run: RunRecord, experiments: dict[str, str]) -> Cell:
        info = run.info
        if self.name in ("started", "ended"):
            at = info.start_ms if self.name == "started" else info.end_ms
            return Cell(words.time(at), None if at is None else float(at), at)
        if self.name == "duration":
            ms = None if info.start_ms is None or info.end_ms is None else info.end_ms - info.start_ms
            return Cell(words.duration(ms), ms)
        texts = {
            "user": info.user_id,
            "experiment": experiments.get(info.experiment_id, info.experiment_id),
            "id": info.run_id,
            "note": run.tags.get(DESCRIPTION_TAG, ""),
            "name": info.name,
            "status": info.status.value,
        }
        return Cell(texts[self.name])

    def ordering(self, is_descending: bool) -> Ordering:
        """How runs sort by it, which also names its value in a search."""
        if self.kind != "fact":
            return Ordering(_ENTITIES[self.kind], self.name, is_descending, self.of)
        if self.name == "note":
            return Ordering(Entity.TAG, DESCRIPTION_TAG, is_descending)
        return Ordering(Entity.ATTRIBUTE, _ATTRIBUTES[self.name], is_descending)


def parse_column(spec: str) -> Column:
    """Read a column. Raises InvalidValue."""
    kind, _dot, name = spec.partition(".")
    if kind in _ENTITIES and name:
        of = Of.LAST
        stem, _colon, suffix = name.rpartition(":")
        if kind == "metrics" and stem and suffix in ("min", "max", "last"):
            name, of = stem, Of(suffix)
        return Column(kind, name, of)
    if spec in FACTS or spec in _ATTRIBUTES:
        return Column("fact", spec)
    rule = f"must be metrics.NAME (with :min or :max), params.NAME, tags.NAME or one of {', '.join(FACTS)}"
    raise InvalidValue("column", spec, rule)


def parse_columns(text: str) -> list[Column]:
    """Read a list of columns as a URL has it. Raises InvalidValue, for more than fifty, too."""
    specs = [unquote(each) for each in text.split(",") if each]
    if len(specs) > _MOST:
        raise InvalidValue("columns", f"{len(specs)} of them", f"must be {_MOST} at most")
    return [parse_column(spec) for spec in dict.fromkeys(specs)]


def written(columns: Iterable[Column]) -> str:
    """A list of columns as a URL has it."""
    return ",".join(quote(column.spec, safe="") for column in columns)


def default_columns(runs: Sequence[RunRecord], *, with_experiment: bool) -> list[Column]:
    """What tells these runs apart: the params that differ, the metrics that most have, when and how long."""
    params = _common(run.params for run in runs)
    differing = [name for name in params if len({run.params.get(name) for run in runs}) > 1]
    metrics = _common({point.name: "" for point in run.metrics if not point.name.startswith("system/")} for run in runs)
    columns = [Column("fact", "experiment")] if with_experiment else []
    columns += [Column("params", name) for name in (differing or params)[:3]]
    columns += [Column("metrics", name) for name in metrics[:3]]
    return [*columns, Column("fact", "started"), Column("fact", "duration")]


def differing_numbers(runs: Sequence[RunRecord]) -> Iterator[Column]:
    """The params that are numbers and tell these runs apart, the one that most of them have first."""
    for name in _common(run.params for run in runs):
        cells = [_text_cell(run.params[name]) for run in runs if name in run.params]
        if len({cell.text for cell in cells}) > 1 and all(cell.number is not None for cell in cells):
            yield Column("params", name)


def value_of(summary: MetricSummary, of: Of) -> float | None:
    """A metric's last, lowest or highest value."""
    if of is Of.MIN:
        return summary.minimum
    return summary.maximum if of is Of.MAX else summary.last_value


def _common(of_runs: Iterable[dict[str, str]]) -> list[str]:
    counted: dict[str, int] = {}
    for names in of_runs:
        for name in names:
            counted[name] = counted.get(name, 0) + 1
    return sorted(counted, key=lambda name: -counted[name])


def _text_cell(text: str) -> Cell:
    return Cell(text, number_of(text))


def number_of(text: str) -> float | None:
    """The number that a param or tag is, None for other words: `nan` and `1_000` are words."""
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None
