"""Charts of many runs: which there are beside a table, and `/scatter.json`, one value of each run over another.

In an address a chart of values is `UP|ACROSS`, two columns as `studio.columns` writes them; a list of them has commas
between, so each column is percent-encoded first.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from urllib.parse import unquote

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.studio.columns import Column, differing_numbers, number_of, parse_column
from mlflow_amlstore.studio.runs_query import RunsQuery, search_of

ROUTES = Routes(Area.STUDIO)
_MOST_CHARTS = 12
_MOST_POINTS = 5000
_MOST_ADDED = 20
_FACT_AXES = {"started": "time", "ended": "time", "duration": "duration"}
_MOST_NAMES = 100


class RunsChart(msgspec.Struct, frozen=True):
    """A chart beside a table of runs: a metric's curves, or where `across` is given, `up` over it.

    `added` is what the address has for it; it is empty for a chart that nobody asked for.
    """

    name: str
    up: str = ""
    across: str = ""
    across_name: str = ""
    added: str = ""


class Axes(msgspec.Struct, frozen=True):
    """What a chart over runs can have up and across, as columns and their names, the likeliest first."""

    up: list[tuple[str, str]]
    across: list[tuple[str, str]]


class ScatterQuery(RunsQuery, frozen=True):
    """Which runs, and which columns; `runs` are ids with commas between, to show no others."""

    experiment: str = ""
    runs: str = ""
    up: str = ""
    across: str = ""


class ScatterPoint(msgspec.Struct, frozen=True):
    """A run's place. A number stands for itself, a text for its place among the words of its axis."""

    run_id: str
    run_name: str
    x: tuple[float]
    y: tuple[float]


class Scatter(msgspec.Struct, frozen=True):
    """Runs by two of their values: those that have both, at most 5 000, the latest started.

    `x_kind` and `y_kind` are number, time (ms since 1970), duration (ms) or words; the words are in `x_words` and
    `y_words`, in order.
    """

    x_name: str
    y_name: str
    x_kind: str
    y_kind: str
    x_words: list[str]
    y_words: list[str]
    series: list[ScatterPoint]
    is_cut: bool


@ROUTES.get("/scatter.json", Role.READER, Right.LOOK, is_long=True)
def scatter(call: Call, body: ScatterQuery) -> Scatter:
    """Give one value of each run over another: any last, lowest or highest of a metric, a param, a tag, a time."""
    return scatter_of(call.records, body)


def scatter_of(records: RecordStore, query: ScatterQuery) -> Scatter:
    """One value of each run over another. Raises FilterInvalid, InvalidValue."""
    across, up = parse_column(query.across), parse_column(query.up)
    search = search_of(query, query.experiment or None)
    found = records.runs.values(
        search.experiment_ids,
        filter=search.filter,
        view=search.view,
        run_ids=[each for each in query.runs.split(",") if each] or None,
        wanted=[across.ordering(is_descending=False), up.ordering(is_descending=False)],
        max_results=_MOST_POINTS + 1,
    )
    shown = found[:_MOST_POINTS]
    x_kind, x_words, xs = _axis(across, _with_names(records, across, [run.values[0] for run in shown]))
    y_kind, y_words, ys = _axis(up, _with_names(records, up, [run.values[1] for run in shown]))
    return Scatter(
        x_name=across.label,
        y_name=up.label,
        x_kind=x_kind,
        y_kind=y_kind,
        x_words=x_words,
        y_words=y_words,
        series=[ScatterPoint(run.run_id, run.name, (x,), (y,)) for run, x, y in zip(shown, xs, ys, strict=True)],
        is_cut=len(found) > _MOST_POINTS,
    )


def _axis(column: Column, values: Sequence[float | int | str]) -> tuple[str, list[str], list[float]]:
    """What kind of axis these values have, its words, and each value's place on it."""
    if column.kind == "metrics":
        return "number", [], [float(value) for value in values]
    if column.kind == "fact" and column.name in _FACT_AXES:
        return _FACT_AXES[column.name], [], [float(value) for value in values]
    texts = [str(value) for value in values]
    numbers = [number_of(text) for text in texts]
    known = [number for number in numbers if number is not None]
    if column.kind != "fact" and len(known) == len(numbers):
        return "number", [], known
    words = sorted(set(texts))
    places = {word: float(place) for place, word in enumerate(words)}
    return "words", [word or "(empty)" for word in words], [places[text] for text in texts]


def _with_names(
    records: RecordStore, column: Column, values: Sequence[float | int | str]
) -> Sequence[float | int | str]:
    """The values, an experiment's id as its name."""
    if column != Column("fact", "experiment"):
        return values
    names = {value: records.experiments.get(str(value)).name for value in set(values)}
    return [names[value] for value in values]


def charts_of(runs: Sequence[RunRecord], over: str) -> list[RunsChart]:
    """The charts of these runs: those that were asked for, and one for each metric that most of them have.

    A metric that each of them has once is no curve: it is drawn over what tells the runs apart. Raises InvalidValue.
    """
    charts = parse_charts(over)
    for name in _metrics_of(runs)[: max(0, _MOST_CHARTS - len(charts))]:
        having = [run for run in runs if any(point.name == name for point in run.metrics)]
        last_step = max(point.step for run in having for point in run.metrics if point.name == name)
        if len(having) > 1 and last_step <= 0:
            across = next(differing_numbers(having), Column("fact", "started"))
            charts.append(RunsChart(name, Column("metrics", name).spec, across.spec, across.label))
        else:
            charts.append(RunsChart(name))
    return charts


def parse_charts(over: str) -> list[RunsChart]:
    """Read a list of charts as an address has it. Raises InvalidValue."""
    charts: list[RunsChart] = []
    for each in dict.fromkeys(filter(None, over.split(","))):
        up, _bar, across = each.partition("|")
        if not across:
            raise InvalidValue("over", each, "must be UP|ACROSS, two columns, each percent-encoded")
        columns = parse_column(unquote(up)), parse_column(unquote(across))
        chart = RunsChart(columns[0].label, columns[0].spec, columns[1].spec, columns[1].label, each)
        charts = [*[known for known in charts if (known.up, known.across) != (chart.up, chart.across)], chart]
    if len(charts) > _MOST_ADDED:
        raise InvalidValue("over", f"{len(charts)} charts", f"must be {_MOST_ADDED} at most")
    return charts


def axes_of(runs: Sequence[RunRecord]) -> Axes:
    """The columns of these runs that a chart can have as axes, of a great many names the most common."""
    metrics = _metrics_of(runs)[:_MOST_NAMES]
    of_metrics = [Column("metrics", name, of) for name in metrics for of in (Of.LAST, Of.MIN, Of.MAX)]
    names = dict.fromkeys(name for run in runs for name in run.params)
    differing = islice(differing_numbers(runs), _MOST_NAMES)
    params = list(dict.fromkeys([*differing, *(Column("params", name) for name in names)]))[:_MOST_NAMES]
    times = [Column("fact", name) for name in ("started", "duration")]
    return Axes(_choices([*of_metrics, *params, *times]), _choices([*params, *times, *of_metrics]))


def _choices(columns: Sequence[Column]) -> list[tuple[str, str]]:
    return [(column.spec, column.label) for column in columns]


def _metrics_of(runs: Sequence[RunRecord]) -> list[str]:
    """The metrics of these runs, but for the system's, the one that most of them have first."""
    counted = Counter(point.name for run in runs for point in run.metrics if not point.name.startswith("system/"))
    return [name for name, _ in counted.most_common()]
