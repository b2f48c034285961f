"""Runs by the value of a param, as rows of a table: of each metric the mean and the deviation."""

from collections.abc import Sequence

import msgspec

from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.studio import words
from mlflow_amlstore.studio.columns import Cell, Column
from mlflow_amlstore.studio.runs_query import RunSearch

_MOST_GROUPS = 200


class GroupRow(msgspec.Struct, frozen=True):
    """The runs that have one value of a param: of each metric's column the mean and the deviation."""

    value: str
    runs: int
    cells: list[Cell]
    deviations: list[Cell]


def group_rows(records: RecordStore, search: RunSearch, param: str, columns: Sequence[Column]) -> list[GroupRow]:
    """The groups that have the most runs, at most two hundred."""
    orderings = [column.ordering(is_descending=False) for column in columns if column.kind == "metrics"]
    found = records.runs.groups(
        search.experiment_ids,
        filter=search.filter,
        view=search.view,
        param=param,
        metrics=orderings,
        max_results=_MOST_GROUPS,
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
