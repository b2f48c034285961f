"""`/runs` and `/experiments/ID/runs`: runs as a table, with the charts of those that are chosen beside it."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from mlflow_amlstore.errors import FilterInvalid, InvalidValue, PageTokenInvalid
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search.filter import Filter
from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.search.ordering import Of
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ExperimentRecord, RunFilter, RunRecord, RunStatus, View
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Cell, Column, default_columns, parse_column, parse_columns, written
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.run_rows import RunRow, run_rows
from mlflow_amlstore.studio.run_tail import log_paths, tail_of

PAGES = Pages()
ROUTES = Routes(Area.STUDIO)
_ROWS, _MOST_ROWS, _MOST_CSV_ROWS = 50, 1000, 10_000
_NUMBER = re.compile(r"[+-]?(inf|nan|[\d.]+(e[+-]?\d+)?)", re.IGNORECASE)
_MOST_CHARTS = 12
_MOST_GROUPS = 200
_TAIL_BYTES = 16 * 1024
_FIRST = 10  # runs whose curves are drawn while none is chosen
_MOST_CHILDREN = 200  # shown under a parent; all of them are on its page
_STATUSES = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "failed": "FAILED",
    "canceled": "KILLED",
    "queued": "SCHEDULED",
}
_VIEWS = {"": View.ACTIVE, "deleted": View.DELETED, "all": View.ALL}
T = TypeVar("T")


class RunsQuery(msgspec.Struct, frozen=True):
    """What a table of runs is asked for.

    `filter` is in MLflow's grammar; `status` is one of running, completed, failed, canceled, queued; `view` is deleted,
    all, or nothing for the active. `columns` and `sort` are as `studio.columns` has them, a `-` before it for the
    highest first. `show` is table, charts, or nothing for both. `open` are the runs whose children are shown. `beside`
    is the run whose charts and log are shown in place of those of the chosen. `group` is a param: runs that have the
    same value of it are one row, with the mean and the deviation of each metric.
    """

    filter: str = ""
    status: str = ""
    who: str = ""
    view: str = ""
    columns: str = ""
    sort: str = ""
    page: str = ""
    show: str = ""
    open: str = ""
    beside: str = ""
    group: str = ""
    rows: int = _ROWS


class Heading(msgspec.Struct, frozen=True):
    """A column's heading: what it shows, its place in a URL, and the sort that a click on it asks for."""

    spec: str
    text: str
    of: str
    is_number: bool
    sorted: str  # ascending, descending or ""
    next_sort: str  # "" where runs can't be sorted by it


class FilterProblem(msgspec.Struct, frozen=True):
    """Why a filter can't be read, and where the word stands that is wrong."""

    message: str
    position: int
    length: int


class Names(msgspec.Struct, frozen=True):
    """Names that these runs have, for the filter and the choice of columns."""

    attributes: list[str]
    metrics: list[str]
    params: list[str]
    tags: list[str]


class ExperimentHead(msgspec.Struct, frozen=True):
    """The experiment that the runs are of."""

    experiment_id: str
    name: str
    tags: dict[str, str]
    is_deleted: bool


class GroupRow(msgspec.Struct, frozen=True):
    """The runs that have one value of a param: of each metric's column the mean and the deviation."""

    value: str
    runs: int
    cells: list[Cell]
    deviations: list[Cell]


class Beside(msgspec.Struct, frozen=True):
    """A run beside the table: its charts, and the end of its log."""

    run_id: str
    name: str
    status: RunStatus
    look: str
    charts: list[str]
    log: str
    tail: str


class RunsPage(msgspec.Struct, frozen=True):
    """A page of runs. `matching` counts the runs on all pages, `folded` the children under them.

    A filter finds children as it finds other runs; they stand beside their parents then, not under them.
    """

    experiment: ExperimentHead | None
    query: RunsQuery
    problem: FilterProblem | None
    headings: list[Heading]
    rows: list[RunRow]
    best: list[int | None]  # of each column, the row that has its best value
    matching: int
    folded: int
    next_page: str | None
    charts: list[str]
    names: Names
    people: list[str]
    views: list[tuple[str, str]]
    columns: str
    groups: list[GroupRow]
    beside: Beside | None


@PAGES.page("/runs", "runs.html")
def all_runs(call: Call, query: RunsQuery) -> RunsPage:
    """Show the workspace's runs."""
    return runs_page(call.records, query, None)


@PAGES.page("/experiments/{experiment_id}/runs", "runs.html")
def runs_of_experiment(call: Call, query: RunsQuery) -> RunsPage:
    """Show an experiment's runs."""
    return runs_page(call.records, query, call.records.experiments.get(call.path["experiment_id"]))


@ROUTES.get("/runs.csv", Role.READER, Right.LOOK, is_long=True)
def all_runs_as_csv(call: Call, body: RunsQuery) -> Content:
    """Give the runs that a table shows as CSV: all that match, at most ten thousand."""
    return _csv(call.records, body, None)


@ROUTES.get("/experiments/{experiment_id}/runs.csv", Role.READER, Right.LOOK, is_long=True)
def runs_of_experiment_as_csv(call: Call, body: RunsQuery) -> Content:
    """Give an experiment's runs that a table shows as CSV: all that match, at most ten thousand."""
    return _csv(call.records, body, call.records.experiments.get(call.path["experiment_id"]))


def _csv(records: RecordStore, query: RunsQuery, experiment: ExperimentRecord | None) -> Content:
    written_to = io.StringIO()
    writer = csv.writer(written_to)
    rows = 0
    page = runs_page(records, msgspec.structs.replace(query, page="", rows=_MOST_ROWS), experiment)
    headings = [f"{each.text} ({each.of})" if each.of in ("min", "max") else each.text for each in page.headings]
    writer.writerow(["Run", "Run id", "Status", *headings])
    while True:
        for row in page.rows:
            cells = [
                repr(cell.number) if cell.number is not None and not cell.time_ms else cell.text for cell in row.cells
            ]
            writer.writerow([_plain_cell(text) for text in (row.name, row.run_id, row.status.value, *cells)])
        rows += len(page.rows)
        if page.next_page is None or rows >= _MOST_CSV_ROWS:
            break
        columns = page.columns
        following = msgspec.structs.replace(query, page=page.next_page, rows=_MOST_ROWS, columns=columns)
        page = runs_page(records, following, experiment)
    headers = (("content-disposition", 'attachment; filename="runs.csv"'), ("x-content-type-options", "nosniff"))
    return Content(written_to.getvalue().encode(), "text/csv; charset=utf-8", headers)


def _plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and not _NUMBER.fullmatch(text)):
        return f"'{text}"
    return text


def runs_page(records: RecordStore, query: RunsQuery, experiment: ExperimentRecord | None) -> RunsPage:
    """The page of runs that a query asks for. Raises InvalidValue, but for a filter that can't be read."""
    sort = query.sort
    sorted_by = parse_column(sort.removeprefix("-")) if sort else None
    filter, problem = _filter(query)
    scope = None if experiment is None else [experiment.experiment_id]
    view = _one_of("view", query.view, _VIEWS)
    folds = not filter.comparisons
    if problem is None:
        order_by = [] if sorted_by is None else [sorted_by.ordering(sort.startswith("-"))]
        rows = min(max(query.rows, 1), _MOST_ROWS)
        try:
            page = records.runs.search(
                scope,
                filter=filter,
                view=view,
                order_by=order_by,
                only_top=folds,
                max_results=rows,
                page_token=query.page or None,
            )
        except PageTokenInvalid:  # the filter was changed, and the address has the page of the one before
            page = records.runs.search(
                scope, filter=filter, view=view, order_by=order_by, only_top=folds, max_results=rows
            )
        runs, next_page = list(page.items), page.next_token
        matching = records.runs.count(scope, filter=filter, view=view, only_top=folds)
        folded = records.runs.count(scope, filter=filter, view=view) - matching if folds else 0
    else:
        runs, next_page, matching, folded = [], None, 0, 0
    columns = parse_columns(query.columns) or default_columns(runs, with_experiment=experiment is None)
    if sorted_by is not None and sorted_by.kind != "fact" and sorted_by not in columns:
        columns = [sorted_by, *columns]
    opened = frozenset(filter_empty(query.open.split(",")))
    shown, depths = _with_children(records, runs, opened)
    listed = run_rows(records, shown, columns, experiment_names(records, shown), opened=opened, depths=depths)
    return RunsPage(
        experiment=None if experiment is None else _head(experiment),
        query=query,
        problem=problem,
        headings=[_heading(column, sorted_by, sort.startswith("-")) for column in columns],
        rows=listed,
        best=[_best(column, index, listed) for index, column in enumerate(columns)],
        matching=matching,
        folded=folded,
        next_page=next_page,
        charts=_chart_names(shown[:_FIRST]) or _chart_names(shown),
        names=_names(shown),
        people=sorted({run.info.user_id for run in shown if run.info.user_id}),
        views=[(view.name, view.query) for view in records.saved_views.list(view_page(experiment))],
        columns=written(columns),
        groups=_groups(records, query.group, columns, scope, filter, view) if query.group and problem is None else [],
        beside=_beside(records, query.beside) if query.beside else None,
    )


def view_page(experiment: ExperimentRecord | None) -> str:
    """The page that a saved view is of: an experiment's runs, or all."""
    return "runs" if experiment is None else f"experiments/{experiment.experiment_id}/runs"


def experiment_names(records: RecordStore, runs: Sequence[RunRecord]) -> dict[str, str]:
    """The names of these runs' experiments, by id."""
    return {key: records.experiments.get(key).name for key in {run.info.experiment_id for run in runs}}


def filter_empty(texts: Sequence[str]) -> Iterator[str]:
    """Those that say anything."""
    return (text for text in texts if text)


def _filter(query: RunsQuery) -> tuple[Filter, FilterProblem | None]:
    try:
        filter = RUNS.parse(query.filter)
    except FilterInvalid as error:
        return Filter("", ()), FilterProblem(error.problem, error.position, max(1, len(error.token)))
    clicked = []
    if query.status:
        clicked.append(f"attributes.status = '{_one_of('status', query.status, _STATUSES)}'")
    if query.who:
        quote = '"' if "'" in query.who else "'"
        clicked.append(f"attributes.user_id = {quote}{query.who}{quote}")
    more = RUNS.parse(" AND ".join(clicked))
    return Filter(" AND ".join(filter_empty([query.filter, *clicked])), (*filter.comparisons, *more.comparisons)), None


def _one_of(field: str, value: str, known: Mapping[str, T]) -> T:
    if value not in known:
        raise InvalidValue(field, value, f"must be one of {', '.join(filter(None, known))}")
    return known[value]


def _with_children(
    records: RecordStore, runs: Sequence[RunRecord], opened: frozenset[str]
) -> tuple[list[RunRecord], dict[str, int]]:
    """The runs, each that is open followed by its children, and how deep each stands."""
    shown: list[RunRecord] = []
    depths: dict[str, int] = {}

    def add(run: RunRecord, depth: int) -> None:
        if run.info.run_id in depths:  # a run that is its own grandparent ends there
            return
        shown.append(run)
        depths[run.info.run_id] = depth
        if run.info.run_id in opened and depth < 5:
            children = records.runs.find(RunFilter(parent_run_id=run.info.run_id), max_results=_MOST_CHILDREN)
            for child in children.items:
                add(child, depth + 1)

    for run in runs:
        add(run, 0)
    return shown, depths


def _groups(
    records: RecordStore, param: str, columns: Sequence[Column], scope: list[str] | None, filter: Filter, view: View
) -> list[GroupRow]:
    metrics = [column for column in columns if column.kind == "metrics"]
    orderings = [column.ordering(is_descending=False) for column in metrics]
    found = records.runs.groups(
        scope, filter=filter, view=view, param=param, metrics=orderings, max_results=_MOST_GROUPS
    )
    return [
        GroupRow(
            value=group.value if group.value is not None else "",
            runs=group.runs,
            cells=[Cell(words.number(mean), mean) for _, mean, _ in group.metrics],
            deviations=[Cell(words.number(deviation), deviation) for _, _, deviation in group.metrics],
        )
        for group in found
    ]


def _beside(records: RecordStore, run_id: str) -> Beside:
    run = records.runs.get(run_id)
    logs = log_paths(records, run)
    container = run_container(run.info.experiment_id, run.info.run_id)
    return Beside(
        run_id=run_id,
        name=run.info.name,
        status=run.info.status,
        look=words.look_of(run.info.status),
        charts=[point.name for point in run.metrics[:_MOST_CHARTS]],
        log=logs[0] if logs else "",
        tail=tail_of(records, container, logs[0], _TAIL_BYTES) if logs else "",
    )


def _head(experiment: ExperimentRecord) -> ExperimentHead:
    return ExperimentHead(experiment.experiment_id, experiment.name, experiment.tags, experiment.deleted_ms is not None)


def _heading(column: Column, sorted_by: Column | None, is_descending: bool) -> Heading:
    is_sorted = column == sorted_by
    direction = ("descending" if is_descending else "ascending") if is_sorted else ""
    first_descending = column.kind == "metrics" and column.of is not Of.MIN
    next_sort = f"-{column.spec}" if (first_descending if not is_sorted else not is_descending) else column.spec
    of = column.of.value if column.kind == "metrics" else ""
    return Heading(column.spec, column.heading, of, column.is_number, direction, next_sort if column.can_sort else "")


def _best(column: Column, index: int, rows: Sequence[RunRow]) -> int | None:
    """The row whose minimum is the lowest, or whose maximum is the highest: of a last value neither is known best."""
    if column.kind != "metrics" or column.of is Of.LAST:
        return None
    numbers = [(row.cells[index].number, place) for place, row in enumerate(rows)]
    known = [(number, place) for number, place in numbers if number is not None]
    if len(known) < 2:
        return None
    return (min if column.of is Of.MIN else max)(known)[1]


def _chart_names(runs: Sequence[RunRecord]) -> list[str]:
    counted: dict[str, int] = {}
    for run in runs:
        for point in run.metrics:
            counted[point.name] = counted.get(point.name, 0) + (0 if point.name.startswith("system/") else 1)
    return sorted(counted, key=lambda name: -counted[name])[:_MOST_CHARTS]


def _names(runs: Sequence[RunRecord]) -> Names:
    return Names(
        attributes=["run_name", "run_id", "status", "user_id", "start_time", "end_time"],
        metrics=sorted({point.name for run in runs for point in run.metrics}),
        params=sorted({name for run in runs for name in run.params}),
        tags=sorted({name for run in runs for name in run.tags}),
    )
