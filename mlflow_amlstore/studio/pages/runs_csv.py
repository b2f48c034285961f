"""`/runs.csv` and `/experiments/ID/runs.csv`: the runs that a table shows, on all its pages, as CSV."""

import csv
import io
import re
from collections.abc import Iterator

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ExperimentRecord
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Cell
from mlflow_amlstore.studio.pages.runs import RunsPage, runs_page
from mlflow_amlstore.studio.run_rows import Heading
from mlflow_amlstore.studio.runs_query import RunsQuery

ROUTES = Routes(Area.STUDIO)
_ROWS_AT_ONCE, _MOST_ROWS = 1000, 10_000
_NUMBER = re.compile(r"[+-]?(inf|nan|[\d.]+(e[+-]?\d+)?)", re.IGNORECASE)
_OF_GROUPS = ("mean", "deviation")
_HEADERS = (("content-disposition", 'attachment; filename="runs.csv"'), ("x-content-type-options", "nosniff"))


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
    page = runs_page(records, msgspec.structs.replace(query, page="", rows=_ROWS_AT_ONCE), experiment)
    if query.group:
        writer.writerows(_of_groups(page))
    else:
        writer.writerow(["Run", "Run id", "Status", *map(_title, page.headings)])
        writer.writerows(_of_runs(page))
    rows = len(page.rows)
    while not query.group and page.next_page is not None and rows < _MOST_ROWS:
        following = msgspec.structs.replace(query, page=page.next_page, rows=_ROWS_AT_ONCE, columns=page.columns)
        page = runs_page(records, following, experiment)
        writer.writerows(_of_runs(page))
        rows += len(page.rows)
    return Content(written_to.getvalue().encode(), "text/csv; charset=utf-8", _HEADERS)


def _of_runs(page: RunsPage) -> Iterator[list[str]]:
    for row in page.rows:
        exact = [_exact(heading, cell) for heading, cell in zip(page.headings, row.cells, strict=True)]
        yield [_plain_cell(text) for text in (row.name, row.run_id, row.status.value, *exact)]


def _of_groups(page: RunsPage) -> Iterator[list[str]]:
    metrics = [_title(heading) for heading in page.headings if heading.of]
    yield [_plain_cell(page.query.group), "Runs", *[f"{name}, {what}" for name in metrics for what in _OF_GROUPS]]
    for group in page.groups:
        figures = [cell.number for both in zip(group.cells, group.deviations, strict=True) for cell in both]
        yield [_plain_cell(group.value), str(group.runs), *["" if each is None else repr(each) for each in figures]]


def _title(heading: Heading) -> str:
    if heading.spec == "duration":
        return f"{heading.text} (ms)"
    return f"{heading.text} ({heading.of})" if heading.of in ("min", "max") else heading.text


def _exact(heading: Heading, cell: Cell) -> str:
    """A metric with all its digits, a time in UTC, a duration in milliseconds; params and tags as they were logged."""
    if cell.time_ms is not None:
        return words.iso_time(cell.time_ms)
    if heading.of:
        return "" if cell.number is None else repr(cell.number)
    if heading.spec == "duration":
        return "" if cell.number is None else str(int(cell.number))
    return cell.text


def _plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and not _NUMBER.fullmatch(text)):
        return f"'{text}"
    return text
