"""`/experiments`: the workspace's experiments, how many runs each has, and when the latest was."""

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import DESCRIPTION_TAG, View
from mlflow_amlstore.service.routing import Call
from mlflow_amlstore.studio.page import Pages

PAGES = Pages()
_ROWS = 200
_VIEWS = {"": View.ACTIVE, "deleted": View.DELETED}


class ExperimentsQuery(msgspec.Struct, frozen=True):
    """Which experiments: `view` is deleted, or nothing for the active; `page` is a page's `next_page`."""

    view: str = ""
    page: str = ""


class ExperimentRow(msgspec.Struct, frozen=True):
    """An experiment. `owner` is who started its latest run."""

    experiment_id: str
    name: str
    runs: int
    running: int
    last_ms: int | None
    owner: str
    note: str
    tags: dict[str, str]
    is_deleted: bool


class ExperimentsPage(msgspec.Struct, frozen=True):
    """A page of experiments, that with the latest activity first."""

    query: ExperimentsQuery
    rows: list[ExperimentRow]
    next_page: str | None


@PAGES.page("/experiments", "experiments.html")
def experiments(call: Call, query: ExperimentsQuery) -> ExperimentsPage:
    """Show the workspace's experiments."""
    if query.view not in _VIEWS:
        raise InvalidValue("view", query.view, "must be deleted, or empty for the active")
    found = call.records.experiments.search(view=_VIEWS[query.view], max_results=_ROWS, page_token=query.page or None)
    activity = call.records.experiments.activity()
    rows = []
    for each in found.items:
        seen = activity.get(each.experiment_id)
        rows.append(
            ExperimentRow(
                experiment_id=each.experiment_id,
                name=each.name,
                runs=seen.runs if seen else 0,
                running=seen.running if seen else 0,
                last_ms=(seen.last_ms if seen else None) or each.updated_ms,
                owner=seen.owner if seen else "",
                note=each.tags.get(DESCRIPTION_TAG, ""),
                tags={name: value for name, value in each.tags.items() if not name.startswith("mlflow.")},
                is_deleted=each.deleted_ms is not None,
            )
        )
    rows.sort(key=lambda row: -(row.last_ms or 0))
    return ExperimentsPage(query, rows, found.next_token)
