"""`/runs.csv` and `/experiments/ID/runs.csv`: the runs that a table shows, on all its pages, as CSV."""

import csv
import io
import re

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import ExperimentRecord
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Role, Routes
from mlflow_amlstore.studio.columns import Cell
from mlflow_amlstore.studio.pages.runs import runs_page
from mlflow_amlstore.studio.runs_query import RunsQuery

ROUTES = Routes(Area.STUDIO)
_ROWS_AT_ONCE, _MOST_ROWS = 1000, 10_000
_NUMBER = re.compile(r"[+-]?(inf|nan|[\d.]+(e[+-]?\d+)?)", re.IGNORECASE)
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
    rows = 0
    page = runs_page(records, msgspec.structs.replace(query, page="", rows=_ROWS_AT_ONCE), experiment)
    headings = [f"{each.text} ({each.of})" if each.of in ("min", "max") else each.text for each in page.headings]
    writer.writerow(["Run", "Run id", "Status", *headings])
    while True:
        for row in page.rows:
            cells = [row.name, row.run_id, row.status.value, *map(_exact, row.cells)]
            writer.writerow([_plain_cell(text) for text in cells])
        rows += len(page.rows)
        if page.next_page is None or rows >= _MOST_ROWS:
            break
        following = msgspec.structs.replace(query, page=page.next_page, rows=_ROWS_AT_ONCE, columns=page.columns)
        page = runs_page(records, following, experiment)
    return Content(written_to.getvalue().encode(), "text/csv; charset=utf-8", _HEADERS)


def _exact(cell: Cell) -> str:
    """A number with all its digits; a time as it is shown."""
    return repr(cell.number) if cell.number is not None and not cell.time_ms else cell.text


def _plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and not _NUMBER.fullmatch(text)):
        return f"'{text}"
    return text
