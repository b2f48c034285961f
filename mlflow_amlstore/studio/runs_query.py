"""What a list of runs is asked for, by its address, and the search of the records that this means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records.search.filter import Filter
from mlflow_amlstore.records.search.grammars import RUNS
from mlflow_amlstore.records.types import View

STATUSES = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "failed": "FAILED",
    "canceled": "KILLED",
    "queued": "SCHEDULED",
}
"""The statuses that a list can be of, and what MLflow's filters call them."""
TYPES = {"script": "LOCAL", "notebook": "NOTEBOOK", "project": "PROJECT", "job": "JOB"}
"""What a run was started from, and what MLflow's tag `mlflow.source.type` has for it."""
VIEWS = {"": View.ACTIVE, "deleted": View.DELETED, "all": View.ALL}
T = TypeVar("T")


class RunsQuery(msgspec.Struct, frozen=True):
    """What a table of runs is asked for.

    `filter` is in MLflow's grammar; `status` is one of running, completed, failed, canceled, queued, `type` one of
    script, notebook, project, job; `view` is deleted, all, or nothing for the active. `columns` and `sort` are as
    `studio.columns` has them, a `-` before it for the highest first. `show` is table, charts, or nothing for both.
    `open` are the runs whose children are shown. `beside` is the run whose charts and log are shown in place of those
    of the chosen. `group` is a param: runs that have the same value of it are one row, with the mean and the deviation
    of each metric. `over` are charts of one column over another, as `studio.run_charts` has them.
    """

    filter: str = ""
    status: str = ""
    who: str = ""
    type: str = ""
    view: str = ""
    columns: str = ""
    sort: str = ""
    page: str = ""
    show: str = ""
    open: str = ""
    beside: str = ""
    group: str = ""
    over: str = ""
    rows: int = 50

    @property
    def is_filtered(self) -> bool:
        """Whether it asks for fewer runs than there are."""
        return bool(self.filter or self.status or self.who or self.type)


class FilterProblem(msgspec.Struct, frozen=True):
    """Why a filter can't be read, and where the word stands that is wrong."""

    message: str
    position: int
    length: int


@dataclass(frozen=True)
class RunSearch:
    """What `records.runs` is asked for. Without `experiment_ids` it is the whole workspace's runs."""

    experiment_ids: list[str] | None
    filter: Filter
    view: View


def search_of(query: RunsQuery, experiment_id: str | None) -> RunSearch:
    """The search that a query means. Raises FilterInvalid, InvalidValue."""
    filter = RUNS.parse(query.filter)
    clicked = []
    if query.status:
        clicked.append(f"attributes.status = '{one_of('status', query.status, STATUSES)}'")
    if query.who:
        quote = '"' if "'" in query.who else "'"
        clicked.append(f"attributes.user_id = {quote}{query.who}{quote}")
    if query.type:
        clicked.append(f"tags.`mlflow.source.type` = '{one_of('type', query.type, TYPES)}'")
    more = RUNS.parse(" AND ".join(clicked))
    text = " AND ".join(each for each in (query.filter, *clicked) if each)
    whole = Filter(text, (*filter.comparisons, *more.comparisons))
    return RunSearch(None if experiment_id is None else [experiment_id], whole, one_of("view", query.view, VIEWS))


def problem_of(query: RunsQuery) -> FilterProblem | None:
    """What is wrong with a query's filter, None where it can be read."""
    try:
        RUNS.parse(query.filter)
    except FilterInvalid as error:
        return FilterProblem(error.problem, error.position, max(1, len(error.token)))
    return None


def one_of(field: str, value: str, known: Mapping[str, T]) -> T:
    """What a word of a query means. Raises InvalidValue for one that isn't known."""
    if value not in known:
        raise InvalidValue(field, value, f"must be one of {', '.join(filter(None, known))}")
    return known[value]
