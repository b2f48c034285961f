"""`/compare?runs=A,B`: what differs between runs, their curves over one another, and any two values as a scatter."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import MetricKind, MetricSummary, RunRecord, RunStatus
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Column, parse_column
from mlflow_amlstore.studio.page import Pages

PAGES = Pages()
_MOST_RUNS = 200
_MOST_CHARTS = 24
_MOST_AXES = 10
_MOST_WITH_FILES = 20
_MOST_FILES = 2000


class CompareQuery(msgspec.Struct, frozen=True):
    """`runs` are ids with commas between, `across` and `up` the columns of the scatter.

    `all` shows what is the same, too. `group` is a param: the runs that have one value of it are one curve.
    """

    runs: str = ""
    across: str = ""
    up: str = ""
    all: str = ""
    group: str = ""


class ComparedRun(msgspec.Struct, frozen=True):
    """A run that is compared."""

    run_id: str
    name: str
    status: RunStatus
    look: str
    started_ms: int | None
    duration_ms: int | None


class Line(msgspec.Struct, frozen=True):
    """A value of each run, and whether they differ. `best` is none where none is known."""

    name: str
    values: list[str]
    differs: bool


class ImagesOfRuns(msgspec.Struct, frozen=True):
    """An image of a name, as each run logged it last; "" where it didn't."""

    name: str
    paths: list[str]


class FileLine(msgspec.Struct, frozen=True):
    """A file of the runs: its size in each, "" where it isn't."""

    path: str
    values: list[str]


class ComparePage(msgspec.Struct, frozen=True):
    """Runs side by side. `scatter` and `parallel` are what their charts draw, as JSON."""

    query: CompareQuery
    runs: list[ComparedRun]
    missing: list[str]
    params: list[Line]
    metrics: list[Line]
    same: int
    charts: list[str]
    varying: list[str]  # params that differ, to group by
    choices: list[tuple[str, str]]
    across: str
    up: str
    scatter: str
    parallel: str
    images: list[ImagesOfRuns]
    files: list[FileLine]


@PAGES.page("/compare", "compare.html", is_long=True)
def compare(call: Call, query: CompareQuery) -> ComparePage:
    """Show runs side by side."""
    records = call.records
    ids = list(dict.fromkeys(each for each in query.runs.split(",") if each))
    if not 1 <= len(ids) <= _MOST_RUNS:
        raise InvalidValue("runs", f"{len(ids)} of them", f"must be 1 to {_MOST_RUNS} ids with commas between")
    runs, missing = [], []
    for run_id in ids:
        try:
            runs.append(records.runs.get(run_id))
        except NotFound:
            missing.append(run_id)
    if not runs:
        raise NotFound("run", ids[0])
    found = records.metrics.summaries([run.info.run_id for run in runs])
    summaries = [{each.name: each for each in found.get(run.info.run_id, ())} for run in runs]
    params = _lines([run.params for run in runs])
    metrics = _lines([_texts(each) for each in summaries])
    columns = _columns(runs, summaries)
    across, up = _axes(query, columns, summaries)
    shows_all = bool(query.all) or len(runs) == 1
    same = 0 if shows_all else sum(not line.differs for line in (*params, *metrics))
    return ComparePage(
        query=query,
        runs=[_compared(run) for run in runs],
        missing=missing,
        params=[line for line in params if line.differs or shows_all],
        metrics=[line for line in metrics if line.differs or shows_all],
        same=same,
        charts=_charts(summaries),
        varying=[line.name for line in params if line.differs],
        choices=[(column.spec, column.spec) for column in columns],
        across=across.spec if across else "",
        up=up.spec if up else "",
        scatter=_scatter(runs, summaries, across, up) if across and up else "",
        parallel=_parallel(runs, summaries, columns),
        images=_images(records, runs),
        files=_files(records, runs),
    )


def _compared(run: RunRecord) -> ComparedRun:
    info = run.info
    duration = None if info.start_ms is None or info.end_ms is None else info.end_ms - info.start_ms
    return ComparedRun(info.run_id, info.name, info.status, words.look_of(info.status), info.start_ms, duration)


def _lines(values: Sequence[dict[str, str]]) -> list[Line]:
    """A line for each name, those that differ first."""
    names = dict.fromkeys(name for of_run in values for name in of_run)
    lines = []
    for name in names:
        texts = [of_run.get(name, "") for of_run in values]
        lines.append(Line(name, texts, len(set(texts)) > 1))
    return sorted(lines, key=lambda line: (not line.differs, line.name))


def _texts(summaries: dict[str, MetricSummary]) -> dict[str, str]:
    return {name: words.number(each.last_value) for name, each in summaries.items() if each.last_value is not None}


def _charts(summaries: Sequence[dict[str, MetricSummary]]) -> list[str]:
    counted: dict[str, int] = {}
    for of_run in summaries:
        for name, each in of_run.items():
            if each.last_value is not None:
                counted[name] = counted.get(name, 0) + 1
    return sorted(counted, key=lambda name: -counted[name])[:_MOST_CHARTS]


def _columns(runs: Sequence[RunRecord], summaries: Sequence[dict[str, MetricSummary]]) -> list[Column]:
    """What the runs have and differ in, to choose axes from."""
    params = dict.fromkeys(name for run in runs for name in run.params)
    found = [Column("params", name) for name in params if len({run.params.get(name) for run in runs}) > 1]
    for name in _charts(summaries):
        found += [Column("metrics", name, of) for of in (Of.LAST, Of.MIN, Of.MAX)]
    return found


def _axes(
    query: CompareQuery, columns: Sequence[Column], summaries: Sequence[dict[str, MetricSummary]]
) -> tuple[Column | None, Column | None]:
    metrics = [Column("metrics", name) for name in _charts(summaries)]
    across = parse_column(query.across) if query.across else None
    up = parse_column(query.up) if query.up else None
    first = next((column for column in columns if column.kind == "params"), metrics[0] if metrics else None)
    return across or first, up or (metrics[-1] if len(metrics) == 1 else next(iter(metrics), None))


def _scatter(
    runs: Sequence[RunRecord], summaries: Sequence[dict[str, MetricSummary]], across: Column, up: Column
) -> str:
    series: list[dict[str, Any]] = []
    for run, of_run in zip(runs, summaries, strict=True):
        x, y = (column.cell(run, of_run, {}).number for column in (across, up))
        if x is not None and y is not None:
            series.append({"run_id": run.info.run_id, "run_name": run.info.name, "x": [x], "y": [y]})
    return msgspec.json.encode({"x_name": across.spec, "y_name": up.spec, "series": series}).decode()


def _parallel(
    runs: Sequence[RunRecord], summaries: Sequence[dict[str, MetricSummary]], columns: Sequence[Column]
) -> str:
    shown = [column for column in columns if column.of is Of.LAST][:_MOST_AXES]
    axes = []
    for column in shown:
        cells = [column.cell(run, of_run, {}) for run, of_run in zip(runs, summaries, strict=True)]
        is_number = all(cell.number is not None or not cell.text for cell in cells)
        values = [cell.number if is_number else cell.text for cell in cells]
        axes.append({"name": column.spec, "kind": "number" if is_number else "text", "values": values})
    named = [{"run_id": run.info.run_id, "run_name": run.info.name} for run in runs]
    return msgspec.json.encode({"axes": axes, "runs": named}).decode()


def _images(records: RecordStore, runs: Sequence[RunRecord]) -> list[ImagesOfRuns]:
    paths: dict[str, list[str]] = {}
    for place, run in enumerate(runs[:_MOST_WITH_FILES]):
        for name, kind in records.metrics.list_names(run.info.run_id):
            if kind is MetricKind.IMAGE:
                of_runs = paths.setdefault(name, [""] * min(len(runs), _MOST_WITH_FILES))
                with suppress(IndexError):
                    of_runs[place] = str(records.metrics.list_metrics(run.info.run_id, name)[0].columns[""][-1])
    return [ImagesOfRuns(name, of_runs) for name, of_runs in paths.items()]


def _files(records: RecordStore, runs: Sequence[RunRecord]) -> list[FileLine]:
    """The files that aren't the same in all of these runs."""
    if not 2 <= len(runs) <= _MOST_WITH_FILES:
        return []
    listed = []
    for run in runs:
        container = run_container(run.info.experiment_id, run.info.run_id)
        listed.append({file.path: file for file in records.files.list_all(container, max_results=_MOST_FILES)})
    lines = []
    for path in sorted({path for files in listed for path in files}):
        found = [files.get(path) for files in listed]
        if len({file.sha256 if file else "" for file in found}) > 1:
            lines.append(FileLine(path, [words.size(file.size_bytes) if file else "" for file in found]))
    return lines[:200]
