"""`/runs/ID`: a run with its charts, params, tags, inputs and outputs; and `/runs/ID/images`, `/runs/ID/children`."""

import itertools
import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mlflow_amlstore.errors import NotFound, StorageFailed
from mlflow_amlstore.protocol.document_curves import document_curves
from mlflow_amlstore.protocol.metric_charts import Chart, chart_of
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import (
    DESCRIPTION_TAG,
    FILE_KINDS,
    GRID_KINDS,
    SNAPSHOT_PROPERTY,
    MetricKind,
    MetricSummary,
    ModelDirection,
    ModelFilter,
    RunFilter,
    RunRecord,
    RunStatus,
)
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.by_hand import Act, acts_on
from mlflow_amlstore.studio.columns import default_columns
from mlflow_amlstore.studio.page import NoQuery, Pages
from mlflow_amlstore.studio.pages.curves import parse_metrics
from mlflow_amlstore.studio.previews import damage, markdown
from mlflow_amlstore.studio.run_head import RunHead, run_head
from mlflow_amlstore.studio.run_rows import Heading, RunRow, experiment_names, plain_headings, run_rows
from mlflow_amlstore.studio.run_tail import log_paths, tail_of
from mlflow_amlstore.studio.submitting_again import is_offered

PAGES = Pages()
_MOST_ROWS = 200  # of a metric's table on the page
_MOST_GRID_POINTS = 20_000
_MOST_CHARTS = 200
_MOST_SHOWN = 500  # metrics, params, tags and properties, of each
_MOST_CHILDREN = 1000
_FAILED_TAIL_BYTES = 4096
_HIDDEN_TAGS = ("mlflow.log-model.history",)


class MetricFacts(msgspec.Struct, frozen=True):
    """A metric of numbers: its last, lowest and highest value."""

    name: str
    description: str
    last: float | None
    last_text: str
    minimum: float | None
    minimum_text: str
    maximum: float | None
    maximum_text: str


class MetricChart(msgspec.Struct, frozen=True):
    """A chart. `kind` says which of the fields hold what it draws.

    Of a line the page has `name` alone, and asks for its curve. An x-y line has `data`, as JSON; a table or axes to
    choose have `columns` and `rows`; a file's path is `path`.
    """

    name: str
    kind: str
    description: str
    columns: list[str] = []
    rows: list[list[str]] = []
    rows_in_all: int = 0
    data: str = ""
    path: str = ""
    matrix: list[list[str]] = []
    labels: list[str] = []


class Input(msgspec.Struct, frozen=True):
    """A dataset or model that went into a run or came out of it."""

    kind: str
    name: str
    detail: str


class Registered(msgspec.Struct, frozen=True):
    """A version of a registered model that the run made."""

    name: str
    version: int


class Sibling(msgspec.Struct, frozen=True):
    """A run beside this one: another child of its parent."""

    run_id: str
    name: str
    look: str


class RunQuery(msgspec.Struct, frozen=True):
    """What a run's page is asked for.

    `find` is what the names of the metrics, params, tags and properties have in them that are shown. `together` are
    metrics that are drawn on one y axis, with commas between, so each is percent-encoded first.
    """

    find: str = ""
    together: str = ""


class InAll(msgspec.Struct, frozen=True):
    """How many a run has; of a great many the page shows the first, in their order, whose names have what is sought."""

    charts: int
    metrics: int
    params: int
    tags: int
    properties: int


class RunPage(msgspec.Struct, frozen=True):
    """A run. `note_html` is its note as HTML, of Markdown; `x_metrics` can be the x axis of its charts.

    `found` counts what has a name that is sought, `in_all` what there is.
    """

    query: RunQuery
    run: RunHead
    user: str
    duration_ms: int | None
    error: str
    error_summary: str
    error_details: str
    failed_log: str
    failed_tail: str
    params: dict[str, str]
    tags: dict[str, str]
    properties: dict[str, str]
    note: str
    note_html: str
    metrics: list[MetricFacts]
    metrics_in_all: int
    numbers: list[MetricFacts]  # those that were logged once, which are no charts
    charts: list[MetricChart]
    found: InAll
    in_all: InAll
    inputs: list[Input]
    outputs: list[Input]
    registered: list[Registered]
    siblings: list[Sibling]
    acts: list[Act]
    logs: list[str]
    submitted_arguments: str | None  # as a shell takes them, of a run that can be submitted again
    previous_run: str | None
    next_run: str | None
    x_metrics: list[str]
    together: list[str]


class ImagesPage(msgspec.Struct, frozen=True):
    """A run's images by their name, each at the steps that it was logged at."""

    run: RunHead
    images: list["Image"]


class Image(msgspec.Struct, frozen=True):
    """The image of a name at a step."""

    name: str
    step: int
    path: str


class ChildrenPage(msgspec.Struct, frozen=True):
    """A run's children, the latest started first."""

    run: RunHead
    headings: list[Heading]
    rows: list[RunRow]
    charts: list[str]


@PAGES.page("/runs/{run_id}", "run.html")
def run(call: Call, query: RunQuery) -> RunPage:
    """Show a run."""
    records = call.records
    found = records.runs.get(call.path["run_id"])
    info = found.info
    summaries = records.metrics.summaries([info.run_id]).get(info.run_id, [])
    descriptions = records.metrics.descriptions(info.run_id)
    tags = {
        name: value for name, value in found.own_tags.items() if name != DESCRIPTION_TAG and name not in _HIDDEN_TAGS
    }
    in_all = _count(summaries, found.params, tags, found.properties)
    sought = query.find.lower()
    if sought:
        summaries = [each for each in summaries if sought in each.name.lower()]
    params, tags, properties = (_sought(each, sought) for each in (found.params, tags, found.properties))
    chosen = _charts(summaries)
    charts = [_chart(records, found, chart, descriptions) for chart in chosen if chart.kind != "number"]
    alone = {chart.name for chart in chosen if chart.kind == "number"}
    logs = log_paths(records, found)
    failed_log = logs[0] if logs and info.status is RunStatus.FAILED else ""
    container = run_container(info.experiment_id, info.run_id)
    previous_run, next_run = records.runs.beside(info.run_id)
    return RunPage(
        query=query,
        run=run_head(records, found),
        user=info.user_id,
        duration_ms=None if info.start_ms is None or info.end_ms is None else info.end_ms - info.start_ms,
        error="" if info.error is None else f"{info.error.code}: {info.error.message}",
        error_summary="" if info.error is None else f"{info.error.code}: {info.error.summary}",
        error_details="" if info.error is None else info.error.details,
        failed_log=failed_log,
        failed_tail=tail_of(records, container, failed_log, _FAILED_TAIL_BYTES) if failed_log else "",
        params=_first(params),
        tags=_first(tags),
        properties=_first(properties),
        note=found.tags.get(DESCRIPTION_TAG, ""),
        note_html=markdown(found.tags.get(DESCRIPTION_TAG, "")),
        metrics=[_facts(each, descriptions) for each in _of_numbers(summaries)[:_MOST_SHOWN]],
        metrics_in_all=in_all.metrics,
        numbers=[_facts(each, descriptions) for each in summaries if each.name in alone],
        charts=charts,
        found=_count(summaries, params, tags, properties),
        in_all=in_all,
        inputs=_inputs(found),
        outputs=_outputs(records, found),
        registered=[
            Registered(each.name, each.version)
            for each in records.models.find_versions(ModelFilter(run_id=info.run_id), max_results=50).items
        ],
        siblings=_siblings(records, found),
        acts=acts_on(records, "run", info.run_id),
        logs=logs,
        submitted_arguments=_submitted_arguments(call, found),
        previous_run=previous_run,
        next_run=next_run,
        x_metrics=[chart.name for chart in charts if chart.kind == "line"][:50],
        together=parse_metrics(query.together),
    )


def _submitted_arguments(call: Call, found: RunRecord) -> str | None:
    if not is_offered(call) or SNAPSHOT_PROPERTY not in found.properties:
        return None
    definition = call.records.runs.definition(found.info.run_id)
    return shlex.join(map(str, definition["arguments"])) if definition else None


@PAGES.page("/runs/{run_id}/images", "images.html")
def images(call: Call, query: NoQuery) -> ImagesPage:
    """Show a run's images."""
    records = call.records
    found = records.runs.get(call.path["run_id"])
    shown: list[Image] = []
    for name, kind in records.metrics.list_names(found.info.run_id):
        if kind is MetricKind.IMAGE:
            for metric in records.metrics.list_metrics(found.info.run_id, name, with_times=True):
                steps = metric.steps or range(len(metric.columns[""]))
                shown += [Image(name, step, str(path)) for step, path in zip(steps, metric.columns[""], strict=False)]
    return ImagesPage(run_head(records, found), shown)


@PAGES.page("/runs/{run_id}/children", "children.html")
def children(call: Call, query: NoQuery) -> ChildrenPage:
    """Show a run's children."""
    records = call.records
    found = records.runs.get(call.path["run_id"])
    listed = records.runs.find(RunFilter(parent_run_id=found.info.run_id), max_results=_MOST_CHILDREN).items
    columns = default_columns(listed, with_experiment=False)
    rows = run_rows(records, listed, columns, experiment_names(records, listed))
    charts = sorted({point.name for each in listed[:50] for point in each.metrics})[:12]
    return ChildrenPage(run_head(records, found), plain_headings(columns, rows), rows, charts)


def _count(
    summaries: Sequence[MetricSummary], params: dict[str, str], tags: dict[str, str], properties: dict[str, str]
) -> InAll:
    charts = len({each.metric for each in summaries})
    return InAll(charts, len(_of_numbers(summaries)), len(params), len(tags), len(properties))


def _of_numbers(summaries: Sequence[MetricSummary]) -> list[MetricSummary]:
    return [each for each in summaries if each.last_value is not None]


def _sought(named: dict[str, str], sought: str) -> dict[str, str]:
    return {name: value for name, value in named.items() if sought in name.lower()} if sought else named


def _first(named: dict[str, str]) -> dict[str, str]:
    return {name: named[name] for name in sorted(named)[:_MOST_SHOWN]}


def _charts(summaries: Sequence[MetricSummary]) -> list[Chart]:
    """The first charts of a run's metrics, in the order that they came: a grid's columns are one metric."""
    by_metric: dict[str, list[MetricSummary]] = {}
    for each in summaries:
        by_metric.setdefault(each.metric, []).append(each)
    return [
        chart_of(name, next((each.kind for each in columns if each.column), columns[0].kind), columns)
        for name, columns in itertools.islice(by_metric.items(), _MOST_CHARTS)
    ]


def _chart(records: RecordStore, run: RunRecord, chart: Chart, descriptions: dict[str, str]) -> MetricChart:
    description = descriptions.get(chart.name, "")
    if chart.metric_kind in FILE_KINDS:
        return _of_file(records, run, chart, description)
    if chart.metric_kind not in GRID_KINDS:
        if chart.kind != "table":
            return MetricChart(chart.name, chart.kind, description)
        rows = [
            [words.number(cell) if isinstance(cell, float | int) else str(cell)]
            for cell in _vector(records, run, chart)
        ]
        return MetricChart(chart.name, "table", description, [chart.name], rows[:_MOST_ROWS], len(rows))
    page = records.metrics.page(run.info.run_id, chart.name, max_rows=_MOST_GRID_POINTS)
    if page is None:  # deleted by another process since
        return MetricChart(chart.name, "table", description)
    columns = page.metric.columns
    names = list(columns)
    rows = [
        [_shown(cell) for cell in row] for row in zip(*(cells[:_MOST_ROWS] for cells in columns.values()), strict=False)
    ]
    data = ""
    if chart.kind in ("xy", "axes"):
        numeric = [name for name in names if all(isinstance(cell, float | int) for cell in columns[name])]
        data = msgspec.json.encode({name: columns[name] for name in numeric}).decode()
    count = max((len(cells) for cells in columns.values()), default=0)
    return MetricChart(chart.name, chart.kind, description, names, rows, count, data)


def _vector(records: RecordStore, run: RunRecord, chart: Chart) -> list[Any]:
    found = records.metrics.list_metrics(run.info.run_id, chart.name)
    return list(found[0].columns[""]) if found else []


def _of_file(records: RecordStore, run: RunRecord, chart: Chart, description: str) -> MetricChart:
    """An image's latest path, or what a document of Azure ML's schema holds."""
    paths = _vector(records, run, chart)
    path = str(paths[-1]) if paths else ""
    if chart.metric_kind is MetricKind.IMAGE:
        return MetricChart(chart.name, "image", description, path=path)
    data: dict[str, Any] = {}
    container = run_container(run.info.experiment_id, run.info.run_id)
    try:
        with records.files.open(container, path) as source:
            data = dict(json.loads(source.read())["data"])
    except StorageFailed as error:
        description = damage(error)
    except (NotFound, ValueError, TypeError, KeyError, AttributeError):
        pass  # what the run logged is no such document
    if chart.metric_kind is MetricKind.CONFUSION_MATRIX:
        matrix = [[words.number(cell) for cell in row] for row in data.get("matrix", ())]
        labels = [str(label) for label in data.get("class_labels", ())]
        return MetricChart(chart.name, "matrix", description, path=path, matrix=matrix, labels=labels)
    series = document_curves(chart.metric_kind, data)
    return MetricChart(chart.name, "document", description, path=path, data=msgspec.json.encode(series).decode())


def _shown(cell: object) -> str:
    if cell is None:
        return ""
    return words.number(cell) if isinstance(cell, float | int) and not isinstance(cell, bool) else str(cell)


def _facts(summary: MetricSummary, descriptions: dict[str, str]) -> MetricFacts:
    return MetricFacts(
        name=summary.name,
        description=descriptions.get(summary.metric, ""),
        last=summary.last_value,
        last_text=words.number(summary.last_value),
        minimum=summary.minimum,
        minimum_text=words.number(summary.minimum),
        maximum=summary.maximum,
        maximum_text=words.number(summary.maximum),
    )


def _inputs(run: RunRecord) -> list[Input]:
    datasets = [
        Input("dataset", each.dataset.name, each.tags.get("mlflow.data.context", "") or each.dataset.digest)
        for each in run.datasets
    ]
    models = [Input("model", each.model_id, "") for each in run.models if each.direction is ModelDirection.INPUT]
    return [*datasets, *models]


def _outputs(records: RecordStore, run: RunRecord) -> list[Input]:
    found = []
    for each in run.models:
        if each.direction is ModelDirection.OUTPUT:
            name, detail = each.model_id, f"step {each.step}"
            with suppress(NotFound):
                name = records.logged_models.get(each.model_id).name or each.model_id
            found.append(Input("model", name, detail))
    return found


def _siblings(records: RecordStore, run: RunRecord) -> list[Sibling]:
    if run.info.parent_run_id is None:
        return []
    beside = records.runs.find(RunFilter(parent_run_id=run.info.parent_run_id), max_results=51).items
    return [
        Sibling(each.info.run_id, each.info.name, words.look_of(each.info.status))
        for each in beside
        if each.info.run_id != run.info.run_id
    ][:50]
