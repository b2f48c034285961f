"""`/runs` and `/experiments/ID/runs`: runs as a table, with the charts of those that are chosen beside it."""

from collections.abc import Sequence

import msgspec

from mlflow_amlstore.errors import PageTokenInvalid
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.search.ordering import Of, Ordering
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ExperimentRecord, Page, RunFilter, RunRecord, RunStatus
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.by_hand import Act, acts_on
from mlflow_amlstore.studio.columns import Column, default_columns, parse_column, parse_columns, written
from mlflow_amlstore.studio.page import Pages
from mlflow_amlstore.studio.run_charts import Axes, RunsChart, axes_of, charts_of
from mlflow_amlstore.studio.run_groups import GroupRow, group_rows
from mlflow_amlstore.studio.run_names import Names, names_of
from mlflow_amlstore.studio.run_rows import Heading, RunRow, experiment_names, heading, run_rows
from mlflow_amlstore.studio.run_tail import log_paths, tail_of
from mlflow_amlstore.studio.runs_query import FilterProblem, RunSearch, RunsQuery, problem_of, search_of

PAGES = Pages()
_MOST_CHARTS_BESIDE = 12
_MOST_EXPERIMENTS = 30  # to choose from; all of them are on their page
_TAIL_BYTES = 16 * 1024
_FIRST = 10  # runs whose curves are drawn while none is chosen
_MOST_GROUPED = 200  # runs whose mean curves are
_MOST_CHILDREN = 200  # shown under a parent; all of them are on its page


class ExperimentHead(msgspec.Struct, frozen=True):
    """The experiment that the runs are of, and what was done to it by hand."""

    experiment_id: str
    name: str
    tags: dict[str, str]
    is_deleted: bool
    acts: list[Act]


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

    A filter finds children as it finds other runs; they stand beside their parents then, not under them. `drawn` are
    the charts, `charts` the metrics that they are of, `first` the runs that are drawn while none is chosen; of runs in
    groups the charts leave out `left_out`.
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
    drawn: list[RunsChart]
    first: list[str]
    axes: Axes
    names: Names
    people: list[str]
    experiments: list[tuple[str, str]]  # ids and names, the newest first
    views: list[tuple[str, str]]
    columns: str
    groups: list[GroupRow]
    left_out: int
    beside: Beside | None


class _Found(msgspec.Struct, frozen=True):
    """A page of runs, and the counts of all pages."""

    runs: list[RunRecord] = []
    next_page: str | None = None
    matching: int = 0
    folded: int = 0


@PAGES.page("/runs", "runs.html", keeps=True)
def all_runs(call: Call, query: RunsQuery) -> RunsPage:
    """Show the workspace's runs."""
    return runs_page(call.records, query, None)


@PAGES.page("/experiments/{experiment_id}/runs", "runs.html", keeps=True)
def runs_of_experiment(call: Call, query: RunsQuery) -> RunsPage:
    """Show an experiment's runs."""
    return runs_page(call.records, query, call.records.experiments.get(call.path["experiment_id"]))


def runs_page(records: RecordStore, query: RunsQuery, experiment: ExperimentRecord | None) -> RunsPage:
    """The page of runs that a query asks for. Raises InvalidValue, but for a filter that can't be read."""
    sort = query.sort
    sorted_by = parse_column(sort.removeprefix("-")) if sort else None
    order_by = [] if sorted_by is None else [sorted_by.ordering(sort.startswith("-"))]
    problem = problem_of(query)
    search = None if problem else search_of(query, experiment.experiment_id if experiment else None)
    found = _find(records, search, query, order_by) if search else _Found()
    columns = parse_columns(query.columns) or default_columns(found.runs, with_experiment=experiment is None)
    if sorted_by is not None and sorted_by.kind != "fact" and sorted_by not in columns:
        columns = [sorted_by, *columns]
    opened = frozenset(filter(None, query.open.split(",")))
    shown, depths = _with_children(records, found.runs, opened)
    listed = run_rows(records, shown, columns, experiment_names(records, shown), opened=opened, depths=depths)
    groups = group_rows(records, search, query.group, columns) if search and query.group else []
    first = _latest_of_groups(records, search) if search and groups else [run for run in shown if run.metrics][:_FIRST]
    drawn = charts_of(first, query.over)
    return RunsPage(
        experiment=None if experiment is None else _head(records, experiment),
        query=query,
        problem=problem,
        headings=[_heading(column, place, listed, sort) for place, column in enumerate(columns)],
        rows=listed,
        best=[_best(column, index, listed) for index, column in enumerate(columns)],
        matching=found.matching,
        folded=found.folded,
        next_page=found.next_page,
        charts=[chart.name for chart in drawn if not chart.added],
        drawn=drawn,
        first=[run.info.run_id for run in first],
        axes=axes_of(shown),
        names=names_of(shown),
        people=sorted({run.info.user_id for run in shown if run.info.user_id}),
        experiments=[
            (each.experiment_id, each.name) for each in records.experiments.search(max_results=_MOST_EXPERIMENTS).items
        ],
        views=[(view.name, view.query) for view in records.saved_views.list(view_page(experiment))],
        columns=written(columns),
        groups=groups,
        left_out=max(0, found.matching + found.folded - _MOST_GROUPED) if groups else 0,
        beside=_beside(records, query.beside) if query.beside else None,
    )


def view_page(experiment: ExperimentRecord | None) -> str:
    """The page that a saved view is of: an experiment's runs, or all."""
    return "runs" if experiment is None else f"experiments/{experiment.experiment_id}/runs"


def _find(records: RecordStore, search: RunSearch, query: RunsQuery, order_by: Sequence[Ordering]) -> _Found:
    try:
        page = _page(records, search, query, order_by, query.page or None)
    except PageTokenInvalid:  # the filter was changed, and the address has the page of the one before
        page = _page(records, search, query, order_by, None)
    scope, filter, view = search.experiment_ids, search.filter, search.view
    if page.found:
        return _Found(list(page.items), page.next_token, page.found)
    all_of_them = records.runs.count(scope, filter=filter, view=view)
    folded = 0 if filter.comparisons else records.runs.count_under(scope, filter=filter, view=view)
    return _Found(list(page.items), page.next_token, all_of_them - folded, folded)


def _page(
    records: RecordStore, search: RunSearch, query: RunsQuery, order_by: Sequence[Ordering], token: str | None
) -> Page[RunRecord]:
    is_filtered = bool(search.filter.comparisons)
    return records.runs.search(
        search.experiment_ids,
        filter=search.filter,
        view=search.view,
        order_by=order_by,
        only_top=not is_filtered,
        counts=is_filtered,
        max_results=query.rows,
        page_token=token,
    )


def _latest_of_groups(records: RecordStore, search: RunSearch) -> list[RunRecord]:
    """The runs of groups that are drawn: children too, as the groups have them."""
    latest = records.runs.search(
        search.experiment_ids, filter=search.filter, view=search.view, max_results=_MOST_GROUPED
    )
    return [run for run in latest.items if run.metrics]


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


def _beside(records: RecordStore, run_id: str) -> Beside:
    run = records.runs.get(run_id)
    logs = log_paths(records, run)
    container = run_container(run.info.experiment_id, run.info.run_id)
    return Beside(
        run_id=run_id,
        name=run.info.name,
        status=run.info.status,
        look=words.look_of(run.info.status),
        charts=[point.name for point in run.metrics[:_MOST_CHARTS_BESIDE]],
        log=logs[0] if logs else "",
        tail=tail_of(records, container, logs[0], _TAIL_BYTES) if logs else "",
    )


def _head(records: RecordStore, experiment: ExperimentRecord) -> ExperimentHead:
    key = experiment.experiment_id
    is_deleted = experiment.deleted_ms is not None
    return ExperimentHead(key, experiment.name, experiment.tags, is_deleted, acts_on(records, "experiment", key))


def _heading(column: Column, place: int, rows: Sequence[RunRow], sort: str) -> Heading:
    is_sorted, is_descending = sort.removeprefix("-") == column.spec, sort.startswith("-")
    direction = ("descending" if is_descending else "ascending") if is_sorted else ""
    first_descending = column.kind == "metrics" and column.of is not Of.MIN
    is_next_descending = not is_descending if is_sorted else first_descending
    return heading(
        column, place, rows, sorted=direction, next_sort=f"-{column.spec}" if is_next_descending else column.spec
    )


def _best(column: Column, index: int, rows: Sequence[RunRow]) -> int | None:
    """The row whose minimum is the lowest, or whose maximum is the highest: of a last value neither is known best."""
    if column.kind != "metrics" or column.of is Of.LAST:
        return None
    numbers = [(row.cells[index].number, place) for place, row in enumerate(rows)]
    known = [(number, place) for number, place in numbers if number is not None]
    if len(known) < 2:
        return None
    return (min if column.of is Of.MIN else max)(known)[1]
