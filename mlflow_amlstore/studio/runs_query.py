"""What a list of runs is asked for, by its address, and the search of the records that this means."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
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
SHOWN = ("", "table", "charts")
MOST_ROWS = 1000
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

    def __post_init__(self) -> None:
        if self.show not in SHOWN:
            raise InvalidValue("show", self.show, f"must be one of {', '.join(filter(None, SHOWN))}, or empty for both")
        if not 1 <= self.rows <= MOST_ROWS:
            raise InvalidValue("rows", self.rows, f"must be 1 to {MOST_ROWS}")

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
        status = _one_of("status", query.status, STATUSES)
        clicked.append(Comparison(Entity.ATTRIBUTE, "status", "=", status))
    if query.who:
        clicked.append(Comparison(Entity.ATTRIBUTE, "user_id", "=", query.who))
    if query.type:
        clicked.append(Comparison(Entity.TAG, "mlflow.source.type", "=", _one_of("type", query.type, TYPES)))
    text = repr((query.filter, query.status, query.who, query.type))
    view = _one_of("view", query.view, VIEWS)
    scope = None if experiment_id is None else [experiment_id]
    return RunSearch(scope, Filter(text, (*map(_in_words_of_mlflow, filter.comparisons), *clicked)), view)


def _in_words_of_mlflow(comparison: Comparison) -> Comparison:
    """A comparison with a status by the word that Studio shows, such as Completed: MLflow's filters have FINISHED."""
    if comparison.entity is not Entity.ATTRIBUTE or comparison.name != "status":
        return comparison
    word = str(comparison.value).lower()
    return replace(comparison, value=STATUSES.get(word, comparison.value))


def problem_of(query: RunsQuery) -> FilterProblem | None:
    """What is wrong with a query's filter, None where it can be read."""
    try:
        RUNS.parse(query.filter)
    except FilterInvalid as error:
        return FilterProblem(error.problem, error.position, max(1, len(error.token)))
    return None


def _one_of(field: str, value: str, known: Mapping[str, T]) -> T:
    """What a word of a query means. Raises InvalidValue for one that isn't known."""
    if value not in known:
        raise InvalidValue(field, value, f"must be one of {', '.join(filter(None, known))}")
    return known[value]
