"""The chart that each kind of metric asks for, drawn by matplotlib, which the extra `plot` brings."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlflow_amlstore.cli.output import one_line, text
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.metric_charts import chart_of_record, default_axes
from mlflow_amlstore.records.curves import curve_of_cells
from mlflow_amlstore.records.types import GRID_KINDS, Cell, MetricKind, MetricRecord

CHART_TYPES = ("png", "svg", "pdf")
_SIZE_INCHES = (8.0, 5.0)
_PIXELS_PER_INCH = 150
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a $ in a name means itself
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.edgecolor": "none",
}
_MAX_TITLE_LENGTH = 80
_MAX_LABEL_LENGTH = 30
_MAX_IN_LEGEND = 12
_MAX_TICKS = 25
_MAX_NUMBERED_CLASSES = 12
_MAX_MARKED = 60  # points of a line that are still told apart
_COLUMNS = 2000  # of a line: more than a picture is wide
_LARGEST = 1e300  # further out, what an axis calculates overflows

_Numbers = Any  # a NumPy array of floats, NaN where there is no finite number


def figure_of(metric: MetricRecord, run_name: str, document: Mapping[str, Any] | None = None) -> Figure:
    """Draw the chart that `protocol.metric_charts` says. `document` is that of a kind that has one; a vector or grid
    comes with its steps.

    Raises InvalidValue for what can't be charted: a single value, text alone.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_INCHES, dpi=_PIXELS_PER_INCH, layout="constrained")
        chart = chart_of_record(metric)
        if chart.kind in ("matrix", "document"):
            assert document is not None
            if not document["data"].get("class_labels", True):
                raise _no_chart(metric, "it has no classes")
            _DRAW_DOCUMENT[metric.kind](figure, document["data"])
        elif metric.kind in GRID_KINDS:  # xy, axes, or a table
            _draw_grid(figure, metric)
        else:  # a line, or a list of texts
            _draw_series(figure, metric)
        figure.suptitle(f"{_short(metric.name, _MAX_TITLE_LENGTH)}\n{_short(run_name, _MAX_TITLE_LENGTH)}")
    return figure


def picture_of(figure: Figure, file_type: str) -> bytes:
    """A figure as a file of one of `CHART_TYPES`."""
    content = BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph .* missing from")  # it is drawn as a box
        figure.savefig(content, format=file_type)
    return content.getvalue()


# Vectors and grids


def _draw_series(figure: Figure, metric: MetricRecord) -> None:
    """Values by step, or by position where steps tell nothing: in a list, and where all of them are equal."""
    cells = metric.columns[""]
    if len(cells) < 2:
        raise _single_value(metric, cells[0])
    if np.isnan(_numbers(cells)).all():
        raise _no_chart(metric, f"none of its values is {_what_none_is(cells)}")
    by_step = metric.kind is MetricKind.SCALAR and len(set(metric.steps)) > 1
    positions = np.arange(len(cells))
    if by_step:
        order = np.argsort(metric.steps, kind="stable")
        positions, cells = np.asarray(metric.steps)[order], [cells[place] for place in order]
    axes = _axes(figure, "step" if by_step else "position", metric.name)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _draw_line(axes, positions, cells)


def _draw_grid(figure: Figure, metric: MetricRecord) -> None:
    """Bars or lines over the axes that are chosen where nobody chooses them."""
    numeric = {name: _numbers(cells) for name, cells in metric.columns.items() if name}
    numeric = {name: numbers for name, numbers in numeric.items() if not np.isnan(numbers).all()}
    if not numeric:
        cells = [cell for cells in metric.columns.values() for cell in cells]
        raise _no_chart(metric, f"none of its columns has {_what_none_is(cells)}")
    x, ys, are_bars = default_axes(metric, list(numeric))
    if are_bars:
        _draw_bars(figure, metric, x, numeric)
        return
    if not x:
        [alone] = ys
        if len(numeric[alone]) < 2:
            raise _single_value(metric, metric.columns[alone][0])
        axes = _axes(figure, "row", alone)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        _draw_line(axes, np.arange(len(numeric[alone])), metric.columns[alone])
        return
    axes = _axes(figure, x, ys[0] if len(ys) == 1 else metric.name)
    lines = [_draw_line(axes, numeric[x], metric.columns[name]) for name in ys]
    if len(ys) > 1:
        _add_legend(axes, lines, ys)


def _draw_bars(figure: Figure, metric: MetricRecord, category: str, numeric: Mapping[str, _Numbers]) -> None:
    """A group of bars for each row, a bar in it for each numeric column."""
    categories = metric.columns[category]
    axes = _axes(figure, category, next(iter(numeric)) if len(numeric) == 1 else metric.name)
    axes.grid(visible=False, axis="x")
    width = 0.8 / len(numeric)
    middle = (len(numeric) - 1) / 2
    bars = [
        axes.bar(np.arange(len(categories)) + (index - middle) * width, numbers, width)
        for index, numbers in enumerate(numeric.values())
    ]
    _name_ticks(axes.xaxis, categories)
    if len(numeric) > 1:
        _add_legend(axes, bars, list(numeric))


def _draw_line(axes: Axes, x: _Numbers, cells: Sequence[Cell]) -> object:
    """A line as `records.curves` says, with a mark at each point where there are few; ±Inf, and what is too large for
    an axis, are triangles at its ends."""
    drawn = curve_of_cells(list(map(_in_reach, cells)), columns=_COLUMNS)
    y = np.array([math.nan if value is None else value for value in drawn.ys], float)
    (line,) = axes.plot(x[drawn.xs], y, marker="." if len(cells) <= _MAX_MARKED else "")
    for sign, marker in ((1, "^"), (-1, "v")):
        places = [place for place, of_sign in drawn.infinities if of_sign == sign]
        if places:
            top = max(sign, 0)
            axes.scatter(
                x[places], [top] * len(places), transform=axes.get_xaxis_transform(), marker=marker,
                color=line.get_color(), clip_on=False, zorder=3,
            )  # fmt: skip
    return line


def _in_reach(cell: Cell) -> Cell:
    """A cell, with ±Inf for a number that is further out than an axis reaches."""
    if isinstance(cell, float | int) and abs(cell) > _LARGEST:
        return math.inf if cell > 0 else -math.inf
    return cell


# Documents


def _draw_confusion_matrix(figure: Figure, data: Mapping[str, Any]) -> None:
    """A heat map; with the numbers in it as long as they can be read."""
    labels, matrix = data["class_labels"], np.array([_numbers(row) for row in data["matrix"]])
    axes = _axes(figure, "predicted class", "true class")
    axes.grid(visible=False)
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="Blues")
    figure.colorbar(image, ax=axes)
    _name_ticks(axes.xaxis, labels)
    _name_ticks(axes.yaxis, labels)
    if len(labels) > _MAX_NUMBERED_CLASSES:
        return
    known = matrix[np.isfinite(matrix)]
    middle = (known.min() + known.max()) / 2 if known.size else 0.0
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if count > middle else "black"
        size = 10 if len(labels) <= 10 else 7
        axes.text(column, row, f"{count:.4g}", ha="center", va="center", color=color, fontsize=size)


def _draw_accuracy_table(figure: Figure, data: Mapping[str, Any]) -> None:
    """For each class the ROC curve and the precision-recall curve, from its probability table."""
    roc = _axes(figure, "false positive rate", "true positive rate", 121, "ROC")
    precision_recall = _axes(figure, "recall", "precision", 122, "Precision-recall")
    lines = []
    for table in data["probability_tables"]:
        true_positives, false_positives, true_negatives, false_negatives = np.array(table, float).reshape(-1, 4).T
        recall = _ratio(true_positives, true_positives + false_negatives)
        lines += roc.plot(_ratio(false_positives, false_positives + true_negatives), recall)
        precision_recall.plot(recall, _ratio(true_positives, true_positives + false_positives))
    roc.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    for axes in (roc, precision_recall):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    _add_legend(roc, lines, data["class_labels"], "lower right")


def _draw_residuals(figure: Figure, data: Mapping[str, Any]) -> None:
    """A histogram, with error bars where the document has `bin_errors`."""
    edges, counts = _numbers(data["bin_edges"]), _numbers(data["bin_counts"])
    axes = _axes(figure, "residual (predicted − true)", "count")
    errors = data.get("bin_errors")
    has_errors = isinstance(errors, list) and len(errors) == len(counts)
    axes.bar(
        edges[:-1], counts, np.diff(edges), align="edge", edgecolor="white",
        yerr=np.abs(_numbers(errors or [])) if has_errors else None, error_kw={"capsize": 3, "ecolor": "dimgray"},
    )  # fmt: skip
    axes.axvline(0, color="gray", linestyle="--", linewidth=1)


def _draw_predictions(figure: Figure, data: Mapping[str, Any]) -> None:
    """Predicted over true value with the error of each bin and the ideal line; below, how many values a bin has."""
    edges = _numbers(data["bin_edges"])
    middles = (edges[:-1] + edges[1:]) / 2
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
    axes = _axes(figure, "", "predicted value", grid[0])
    ends = [edges[0], edges[-1]]
    axes.plot(ends, ends, "--", color="gray", linewidth=1, label="ideal")
    averages, errors = _numbers(data["bin_averages"]), np.abs(_numbers(data["bin_errors"]))
    axes.errorbar(middles, averages, yerr=errors, marker="o", capsize=3, label="average, with its error")
    axes.legend(loc="upper left")
    axes.tick_params(labelbottom=False)
    counts = _axes(figure, "true value", "count", grid[1])
    counts.sharex(axes)
    counts.bar(edges[:-1], _numbers(data["bin_counts"]), np.diff(edges), align="edge", edgecolor="white", alpha=0.6)


_DRAW_DOCUMENT: dict[MetricKind, Callable[[Figure, Mapping[str, Any]], None]] = {
    MetricKind.CONFUSION_MATRIX: _draw_confusion_matrix,
    MetricKind.ACCURACY_TABLE: _draw_accuracy_table,
    MetricKind.RESIDUALS: _draw_residuals,
    MetricKind.PREDICTIONS: _draw_predictions,
}


# What charts are made of


def _axes(figure: Figure, x: str, y: str, place: Any = 111, title: str = "") -> Axes:
    axes: Axes = figure.add_subplot(place)
    axes.set(xlabel=_short(x, _MAX_TITLE_LENGTH), ylabel=_short(y, _MAX_LABEL_LENGTH), title=title)
    return axes


def _add_legend(axes: Axes, drawn: Sequence[Any], names: Sequence[object], place: Any = "best") -> None:
    """Name the first of what was drawn; a longer legend would cover the chart."""
    # A label that begins with _ would be left out.
    shown = [_short(name, _MAX_LABEL_LENGTH) for name in names]
    labels = [f"\u200b{name}" if name.startswith("_") else name for name in shown]
    if len(labels) > _MAX_IN_LEGEND:
        labels = [*labels[: _MAX_IN_LEGEND - 1], f"… {len(labels)} in all"]
        drawn = [*drawn[: _MAX_IN_LEGEND - 1], axes.plot([], [], " ")[0]]
    axes.legend(list(drawn), labels, loc=place)


def _name_ticks(axis: XAxis | YAxis, names: Sequence[object]) -> None:
    """A tick for each name, or for every n-th where there are many; below the chart turned where they are long."""
    shown = range(0, len(names), math.ceil(len(names) / _MAX_TICKS))
    labels = [_short(names[index], _MAX_LABEL_LENGTH) for index in shown]
    axis.set_ticks(list(shown), labels)
    if isinstance(axis, XAxis) and sum(map(len, labels)) > _MAX_TITLE_LENGTH:
        for label in axis.get_ticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def _numbers(cells: Sequence[Cell]) -> _Numbers:
    """Cells as floats; NaN, which leaves a gap, for what is no number that an axis could have."""
    return np.array(
        [cell if isinstance(cell, float | int) and abs(cell) <= _LARGEST else math.nan for cell in cells], float
    )


def _what_none_is(cells: Sequence[Cell]) -> str:
    """What an axis could have and none of the cells is."""
    is_finite = any(isinstance(cell, float | int) and math.isfinite(cell) for cell in cells)
    return f"a number of at most {_LARGEST:g}, the largest that an axis can have" if is_finite else "a finite number"


def _ratio(part: _Numbers, whole: _Numbers) -> _Numbers:
    """NaN where the whole is nothing."""
    return np.divide(part, whole, out=np.full(len(part), math.nan), where=whole != 0)


def _short(name: object, limit: int) -> str:
    line = one_line(text(name))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _single_value(metric: MetricRecord, cell: Cell) -> InvalidValue:
    return _no_chart(metric, f"it is the single value {_short(cell, _MAX_TITLE_LENGTH)}")


def _no_chart(metric: MetricRecord, problem: str) -> InvalidValue:
    return InvalidValue("METRIC", metric.name, f"can't be charted: {problem}")
