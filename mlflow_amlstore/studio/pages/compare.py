"""`/compare?runs=A,B`: what differs between runs, their curves over one another, and any two values as a scatter."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import MetricKind, MetricSummary, RunRecord, RunStatus
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Column
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.run_charts import ScatterQuery, scatter_of

PAGES = Pages()
_MOST_RUNS = 200
_MOST_CHARTS = 24
_MOST_AXES = 10
_MOST_WITH_FILES = 20
_MOST_FILES = 2000
_MOST_LINES = 500  # of params, and of metrics


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
    """Runs side by side: of a great many params or metrics the first that differ.

    `scatter` and `parallel` are what their charts draw, as JSON; the scatter is of `up` over `across`.
    """

    query: CompareQuery
    runs: list[ComparedRun]
    colours: dict[str, int]  # of each run, which is its place
    missing: list[str]
    params: list[Line]
    metrics: list[Line]
    lines_in_all: int
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
    charts = _charts(summaries)
    columns = _columns(runs, charts)
    across, up = _axes(query, columns, charts)
    shows_all = bool(query.all) or len(runs) == 1
    shown_params, shown_metrics = ([line for line in lines if line.differs or shows_all] for lines in (params, metrics))
    same = 0 if shows_all else sum(not line.differs for line in (*params, *metrics))
    drawn = ScatterQuery(view="all", runs=",".join(run.info.run_id for run in runs), across=across, up=up)
    return ComparePage(
        query=query,
        runs=[_compared(run) for run in runs],
        colours={run.info.run_id: place for place, run in enumerate(runs)},
        missing=missing,
        params=shown_params[:_MOST_LINES],
        metrics=shown_metrics[:_MOST_LINES],
        lines_in_all=len(shown_params) + len(shown_metrics),
        same=same,
        charts=charts,
        varying=[line.name for line in params if line.differs][:_MOST_LINES],
        choices=[(column.spec, column.label) for column in columns],
        across=across,
        up=up,
        scatter=msgspec.json.encode(scatter_of(records, drawn)).decode() if across and up else "",
        parallel=_parallel(runs, summaries, columns),
        images=_images(records, runs, summaries),
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


def _columns(runs: Sequence[RunRecord], charts: Sequence[str]) -> list[Column]:
    """What the runs have and differ in, to choose axes from."""
    params = dict.fromkeys(name for run in runs for name in run.params)
    varying = (name for name in params if len({run.params.get(name) for run in runs}) > 1)
    found = [Column("params", name) for name in islice(varying, _MOST_LINES)]
    for name in charts:
        found += [Column("metrics", name, of) for of in (Of.LAST, Of.MIN, Of.MAX)]
    return found


def _axes(query: CompareQuery, columns: Sequence[Column], charts: Sequence[str]) -> tuple[str, str]:
    """The columns of the scatter, as an address has them; "" where there is nothing to draw."""
    metrics = [Column("metrics", name).spec for name in charts]
    params = [column.spec for column in columns if column.kind == "params"]
    across = query.across or next(iter([*params, *metrics[1:], *metrics]), "")
    return across, query.up or next(iter(metrics), "")


def _parallel(
    runs: Sequence[RunRecord], summaries: Sequence[dict[str, MetricSummary]], columns: Sequence[Column]
) -> str:
    shown = [column for column in columns if column.of is Of.LAST][:_MOST_AXES]
    axes = []
    for column in shown:
        cells = [column.cell(run, of_run, {}) for run, of_run in zip(runs, summaries, strict=True)]
        is_number = all(cell.number is not None or not cell.text for cell in cells)
        values = [cell.number if is_number else cell.text for cell in cells]
        axes.append({"name": column.label, "kind": "number" if is_number else "text", "values": values})
    named = [{"run_id": run.info.run_id, "run_name": run.info.name} for run in runs]
    return msgspec.json.encode({"axes": axes, "runs": named}).decode()


def _images(
    records: RecordStore, runs: Sequence[RunRecord], summaries: Sequence[dict[str, MetricSummary]]
) -> list[ImagesOfRuns]:
    paths: dict[str, list[str]] = {}
    for place, run in enumerate(runs[:_MOST_WITH_FILES]):
        for name, each in summaries[place].items():
            if each.kind is MetricKind.IMAGE:
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
