"""What is drawn of each metric of a run, as JSON in the shapes that Studio's charts take (`studio/static/chart.js`).

It is read again only of metrics that have changed, and of a long series as much as a chart has columns: a million
points are no more to the page than a thousand.
"""

import base64
import json
import math
import mimetypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.core.metric_schemas import checked_document
from mlflow_amlstore.errors import AmlStoreError, InvalidValue, NotFound
from mlflow_amlstore.protocol.document_curves import document_curves
from mlflow_amlstore.protocol.metric_charts import chart_of, chart_of_record
from mlflow_amlstore.records.curves import curve_of_points
from mlflow_amlstore.records.types import (
    FILE_KINDS,
    GRID_KINDS,
    Cell,
    Curve,
    MetricKind,
    MetricPoint,
    MetricRecord,
    RunInfo,
    RunRecord,
    SeriesCurve,
)

MOST_CHARTS = 100
_COLUMNS = 300  # of a curve: about as wide as a chart in a notebook
_MOST_COLUMNS = 4000
_MOST_ROWS = 200  # of a metric's table
_MOST_GRID_ROWS = 5000  # that are drawn
_MOST_IMAGE_BYTES = 2_000_000
_FIRST_TIME_MS = 10**11  # 1973: no training has so many steps

Part = dict[str, Any]
"""A metric: `name`, `kind` as in `protocol.metric_charts`, `description`, and what that kind of chart draws."""


class MetricParts:
    """The metrics of one run, in the order that they came."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._latest: dict[str, tuple[str, int, int]] = {}  # of each series its last value, step and time
        self._series: dict[str, dict[str, SeriesCurve]] = {}  # by metric and column
        self._parts: list[Part] = []
        self._files: dict[str, tuple[str, Part]] = {}  # by metric: what its file's content was, and what was made of it

    @property
    def series(self) -> list[SeriesCurve]:
        """The series of numbers that were read."""
        return [each for columns in self._series.values() for each in columns.values()]

    def read(self, record: RunRecord) -> dict[int, Part]:
        """Read what has changed, by its place among the run's metrics. `record` is the run with its latest metrics."""
        metrics = self._run._records.metrics
        changed = self._changed_series(record.metrics)
        fresh = metrics.curves_of_run(self._run.id, changed, columns=_COLUMNS) if changed else []
        for each in fresh:
            self._series.setdefault(each.metric, {})[each.column] = each
        names = metrics.list_names(self._run.id)[:MOST_CHARTS]
        if not names:
            return {}
        descriptions = metrics.descriptions(self._run.id)
        touched = {each.metric for each in fresh}
        changes = {}
        for place, (name, kind) in enumerate(names):
            known = self._parts[place] if place < len(self._parts) else None
            columns = self._series.get(name, {})
            if known is not None and columns and name not in touched:
                continue
            part = {"name": name, "description": descriptions.get(name, ""), **self._part(record.info, name, kind)}
            if known is None:
                self._parts.append(part)
            elif part != known:
                self._parts[place] = part
            else:
                continue
            changes[place] = part
        return changes

    def _changed_series(self, points: Sequence[MetricPoint]) -> list[str]:
        latest = {point.name: (repr(point.value), point.step, point.timestamp_ms) for point in points}
        changed = [name for name, point in latest.items() if self._latest.get(name) != point]
        self._latest = latest
        return changed

    def _part(self, info: RunInfo, name: str, kind: MetricKind) -> Part:
        if kind in FILE_KINDS:
            return self._of_file(name, kind)
        columns = list(self._series.get(name, {}).values())
        if kind in GRID_KINDS:
            return self._of_grid(name, kind, columns)
        if not columns:
            return self._of_grid(name, kind, columns)
        chart = chart_of(name, kind, columns)
        curve = columns[0].curve
        if chart.kind == "number":
            return {"kind": "number", "value": _shown(columns[0].last_value)}
        step = self._latest.get(name, ("", 0, 0))[1]
        is_of_times = bool(curve.xs) and curve.xs[-1] != step and curve.xs[-1] >= _FIRST_TIME_MS
        return {"kind": "line", **curves_json(info, name, "time" if is_of_times else "step", curve)}

    def _of_grid(self, name: str, kind: MetricKind, series: Sequence[SeriesCurve]) -> Part:
        metric, rows_in_all = self._grid(name, series)
        columns = {} if metric is None else metric.columns
        chart_kind = "table" if metric is None or kind not in GRID_KINDS else chart_of_record(metric).kind
        first = [cells[:_MOST_ROWS] for cells in columns.values()]
        part: Part = {
            "kind": chart_kind,
            "columns": list(columns),
            "rows": [[_shown(cell) for cell in row] for row in zip(*first, strict=False)],
            "rows_in_all": rows_in_all,
        }
        if chart_kind in ("xy", "axes"):
            part["data"] = {
                column: [_finite(cell) for cell in cells]
                for column, cells in columns.items()
                if all(isinstance(cell, float | int) for cell in cells)
            }
        return part

    def _grid(self, name: str, series: Sequence[SeriesCurve]) -> tuple[MetricRecord | None, int]:
        """A row's or table's first rows, and how many it has."""
        metrics: Any = self._run._records.metrics
        counted = max((each.curve.points_in_all for each in series), default=0)
        if hasattr(metrics, "page"):  # a folder's records, which read no more than that
            page = metrics.page(self._run.id, name, max_rows=_MOST_GRID_ROWS, with_times=False)
            metric = None if page is None else page.metric
        else:
            metric = next(iter(metrics.list_metrics(self._run.id, name)), None)
        rows = 0 if metric is None else max((len(cells) for cells in metric.columns.values()), default=0)
        return metric, max(rows, counted)

    def _of_file(self, name: str, kind: MetricKind) -> Part:
        """An image or a document, whose file is read again only where its content is another."""
        metrics = self._run._records.metrics.list_metrics(self._run.id, name)
        paths = [str(path) for metric in metrics for path in metric.columns[""]][-_MOST_ROWS:]
        path = paths[-1] if paths else ""
        found = self._run._records.files.find(self._run._container, path) if path else None
        content = "" if found is None else f"{path} {found.sha256}"
        known, part = self._files.get(name, (None, {}))
        if content != known:
            part = self._read_file(name, kind, path)
            self._files[name] = (content, part)
        return {**part, "paths": paths} if kind is MetricKind.IMAGE else part

    def _read_file(self, name: str, kind: MetricKind, path: str) -> Part:
        if kind is MetricKind.IMAGE:
            return {"kind": "image", "path": path, "source": self.image(path)}
        try:
            with self._run._records.files.open(self._run._container, path) as source:
                data = checked_document(kind, name, source.read())["data"]
        except (AmlStoreError, ValueError) as error:  # the file was replaced, or is damaged
            return {"kind": "document", "path": path, "curves": [], "problem": str(error)}
        if kind is MetricKind.CONFUSION_MATRIX:
            labels = [str(label) for label in data["class_labels"]]
            matrix = [[_shown(cell) for cell in row] for row in data["matrix"]]
            return {"kind": "matrix", "path": path, "labels": labels, "matrix": matrix}
        return {"kind": "document", "path": path, "curves": document_curves(kind, data)}

    def image(self, path: str) -> str:
        """An image of the run's as a data URL; "" for what is none, isn't there, or is too large for a notebook."""
        media_type = mimetypes.guess_type(path)[0] or ""
        files, container = self._run._records.files, self._run._container
        found = files.find(container, path) if media_type.startswith("image/") else None
        if found is None or found.size_bytes > _MOST_IMAGE_BYTES:
            return ""
        try:
            with files.open(container, path) as source:
                return f"data:{media_type};base64,{base64.b64encode(source.read()).decode()}"
        except NotFound:
            return ""


def curves_json(info: RunInfo, name: str, x: str, curve: Curve) -> dict[str, Any]:
    """A curve as Studio's `/curves.json` gives it."""
    drawn = {
        "run_id": info.run_id,
        "run_name": name,
        "started_ms": info.start_ms,
        "points_in_all": curve.points_in_all,
        "points_in_window": curve.points_in_window,
        "x": curve.xs,
        "y": curve.ys,
        "infinite": curve.infinities,
        "minimum": curve.minimum,
        "maximum": curve.maximum,
    }
    return {"metric": name, "x": x, "curves": [drawn]}


def part_of_curve(run: Run, name: str, x: str, columns: int, window: tuple[int, int] | None) -> dict[str, Any]:
    """A metric's curve over steps or times within a window, both ends in it, as `curves_json`. Raises InvalidValue."""
    if x not in ("step", "time"):
        raise InvalidValue("x", x, "must be step or time")
    if not 1 <= columns <= _MOST_COLUMNS:
        raise InvalidValue("points", columns, f"must be 1 to {_MOST_COLUMNS}")
    metrics: Any = run._records.metrics
    if hasattr(metrics, "curves"):  # a folder's records
        found = metrics.curves([run.id], name, columns=columns, x=x, window=window)
        curve = found[0] if found else curve_of_points(run.id, [], [], columns=columns)
    else:
        curve = _curve_of_history(run.id, metrics.history(run.id, name).items, x, columns, window)
    return curves_json(run._info, name, x, curve)


def _curve_of_history(
    run_id: str, points: Sequence[MetricPoint], x: str, columns: int, window: tuple[int, int] | None
) -> Curve:
    placed = sorted((point.step if x == "step" else point.timestamp_ms, place) for place, point in enumerate(points))
    if window is not None:
        placed = [each for each in placed if window[0] <= each[0] <= window[1]]
    values = [points[place].value for _, place in placed]
    xs, ys = [at for at, _ in placed], [None if math.isnan(value) else value for value in values]
    return replace(curve_of_points(run_id, xs, ys, columns=columns), points_in_all=len(points))


def _finite(cell: Cell) -> float | int | None:
    return cell if isinstance(cell, float | int) and math.isfinite(cell) else None


def _shown(cell: object) -> object:
    """A cell as JSON: what is no finite number as its text."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return "NaN" if math.isnan(cell) else "∞" if cell > 0 else "−∞"
    return cell if cell is None or isinstance(cell, str | float | int) else json.dumps(cell)
