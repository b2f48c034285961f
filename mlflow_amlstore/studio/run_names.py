"""Names that runs have, to choose from: of the runs that a page shows, and `/names.json` of all."""

from collections.abc import Iterable, Sequence

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.studio import live
from mlflow_amlstore.studio.columns import FACTS
from mlflow_amlstore.studio.kept_pages import kept
from mlflow_amlstore.studio.runs_query import VIEWS

ROUTES = Routes(Area.STUDIO)
_MOST_ON_PAGE = 500
_MOST = 2000
_ATTRIBUTES = ["run_name", "run_id", "status", "user_id", "start_time", "end_time"]


class Names(msgspec.Struct, frozen=True):
    """Names for the filter and the choice of columns; `facts` are columns that every run has, and their headings."""

    attributes: list[str]
    metrics: list[str]
    params: list[str]
    tags: list[str]
    facts: dict[str, str]


class AllNames(Names, frozen=True):
    """The same, and who has runs."""

    people: list[str]


class NamesQuery(msgspec.Struct, frozen=True):
    """Whose names: an experiment's, or all; `view` is deleted, all, or nothing for the active."""

    experiment: str = ""
    view: str = ""


def names_of(runs: Sequence[RunRecord]) -> Names:
    """The names that these runs have, at most five hundred of a kind."""
    return Names(
        attributes=_ATTRIBUTES,
        metrics=_some(point.name for run in runs for point in run.metrics),
        params=_some(name for run in runs for name in run.params),
        tags=_some(name for run in runs for name in run.tags),
        facts=FACTS,
    )


def _some(names: Iterable[str]) -> list[str]:
    return sorted(set(names))[:_MOST_ON_PAGE]


@ROUTES.get("/names.json", Role.READER, Right.LOOK, is_long=True)
def all_names(call: Call, body: NamesQuery) -> AllNames:
    """Give the names that an experiment's runs have, or all runs: two thousand of a kind at most."""
    if body.view not in VIEWS:
        raise InvalidValue("view", body.view, "must be deleted, all, or empty for the active")
    scope = [body.experiment] if body.experiment else None
    version = live.version_of(call.records)
    found = kept(
        call.records,
        ("names", body),
        version,
        lambda: call.records.runs.names(scope, view=VIEWS[body.view], max_results=_MOST),
    )
    return AllNames(_ATTRIBUTES, found.metrics, found.params, found.tags, FACTS, found.people)
