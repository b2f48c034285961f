"""Runs as rows of a table, with the cells of the columns that were chosen."""

from collections.abc import Sequence

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import DESCRIPTION_TAG, MetricSummary, RunRecord, RunStatus
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Cell, Column


class RunRow(msgspec.Struct, frozen=True):
    """One run. `children` counts those of it that are active, `depth` is 1 for a child shown under its parent."""

    run_id: str
    name: str
    status: RunStatus
    look: str
    experiment_id: str
    started_ms: int | None
    ended_ms: int | None
    note: str
    children: int
    is_open: bool
    depth: int
    is_deleted: bool
    cells: list[Cell]


class Heading(msgspec.Struct, frozen=True):
    """A column's heading: what it shows, its place in a URL, and the sort that a click on it asks for, "" for none."""

    spec: str
    text: str
    of: str
    is_number: bool
    sorted: str  # ascending, descending or ""
    next_sort: str


def heading(column: Column, place: int, rows: Sequence[RunRow], *, sorted: str = "", next_sort: str = "") -> Heading:
    """The heading of the column that has this place in the rows."""
    of = column.of.value if column.kind == "metrics" else ""
    return Heading(
        column.spec, column.heading, of, column.is_number(row.cells[place] for row in rows), sorted, next_sort
    )


def plain_headings(columns: Sequence[Column], rows: Sequence[RunRow]) -> list[Heading]:
    """The headings of a table that can't be sorted."""
    return [heading(column, place, rows) for place, column in enumerate(columns)]


def experiment_names(records: RecordStore, runs: Sequence[RunRecord]) -> dict[str, str]:
    """The names of these runs' experiments, by id."""
    return {key: records.experiments.get(key).name for key in {run.info.experiment_id for run in runs}}


def run_rows(
    records: RecordStore,
    runs: Sequence[RunRecord],
    columns: Sequence[Column],
    experiments: dict[str, str],
    *,
    opened: frozenset[str] = frozenset(),
    depths: dict[str, int] | None = None,
) -> list[RunRow]:
    """The rows of these runs."""
    ids = [run.info.run_id for run in runs]
    children = records.runs.count_children(ids)
    summaries: dict[str, dict[str, MetricSummary]] = {}
    if any(column.kind == "metrics" for column in columns):
        summaries = {
            run_id: {each.name: each for each in found} for run_id, found in records.metrics.summaries(ids).items()
        }
    return [
        RunRow(
            run_id=run.info.run_id,
            name=run.info.name,
            status=run.info.status,
            look=words.look_of(run.info.status),
            experiment_id=run.info.experiment_id,
            started_ms=run.info.start_ms,
            ended_ms=run.info.end_ms,
            note=run.tags.get(DESCRIPTION_TAG, ""),
            children=children.get(run.info.run_id, 0),
            is_open=run.info.run_id in opened,
            depth=(depths or {}).get(run.info.run_id, 0),
            is_deleted=run.info.deleted_ms is not None,
            cells=[column.cell(run, summaries.get(run.info.run_id, {}), experiments) for column in columns],
        )
        for run in runs
    ]
