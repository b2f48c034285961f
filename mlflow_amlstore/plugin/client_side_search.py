"""Searches that a workspace can't do: a wider set is fetched in pages, then filtered and ordered by MLflow's own code.

What comes out is what MLflow's own stores would give. The cost is told, as it may be large.
"""

import logging
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Run
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils, SearchUtils

from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_runs import RunPage, RunSearch
from mlflow_amlstore.protocol.search import AzureSearch, as_azure_can
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.validation import MAX_RUNS, check_max_results

_PAGE = 1000
_TOKEN_PREFIX = "here."
"""What the token of a page begins with that was searched for here."""

_logger = logging.getLogger(__name__)
_told: set[str] = set()


class ClientSideSearches:
    """The searches of one workspace whose search is Azure ML's. What was fetched for a page serves those after it."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._fetched: tuple[object, list[Run]] | None = None

    def page(
        self,
        search: RunSearch,
        filter: str | None,
        order_by: Sequence[str] | None,
        max_results: int,
        page_token: str | None,
    ) -> RunPage:
        """A page of runs. A page after the first is of the same kind of search. Raises MlflowException."""
        of_what = (search.key, filter, tuple(order_by or ()))
        with as_mlflow_errors():
            check_max_results(max_results, MAX_RUNS)
            read = grammars.RUNS.parse(filter)
            can = as_azure_can(read, order_by)
        is_later_page = (page_token or "").startswith(_TOKEN_PREFIX)
        if not page_token and can.is_by_values and search.has_values_elsewhere():
            can = as_azure_can(read, order_by, has_all_values=False)
        if not can.left_out and not is_later_page:
            return search.page(can.filter, can.order_by, min(max_results, _PAGE), page_token)
        fetched = self._fetched
        if is_later_page and fetched is not None and fetched[0] == of_what:
            found = fetched[1]
        else:
            if (
                is_later_page and can.is_by_values
            ):  # whether values were elsewhere at the first page isn't known any more
                can = as_azure_can(read, order_by, has_all_values=False)
            every = _all(search, can, self._workspace)
            found = SearchUtils.sort(SearchUtils.filter(every, filter), list(order_by or ()))
        page, token = SearchUtils.paginate(found, (page_token or "").removeprefix(_TOKEN_PREFIX), max_results)
        self._fetched = (of_what, found) if token else None
        return list(page), f"{_TOKEN_PREFIX}{_text(token)}" if token else None


def _text(token: str | bytes) -> str:
    return token.decode() if isinstance(token, bytes) else token


def _all(search: RunSearch, can: AzureSearch, workspace: str) -> list[Run]:
    runs: list[Run] = []
    token, pages = None, 0
    while True:
        page, token = search.page(can.filter, can.order_by, _PAGE, token)
        runs += page
        pages += 1
        if not token:
            break
    _tell(workspace, can.left_out[0], len(runs), pages)
    return runs


def filtered_models(models: Sequence[Any], filter: str | None, order_by: Sequence[str] | None) -> list[Any]:
    """Registered models that a filter is for, in order."""
    return list(SearchModelUtils.sort(SearchModelUtils.filter(list(models), filter), list(order_by or ())))


def filtered_versions(versions: Sequence[Any], filter: str | None, order_by: Sequence[str] | None) -> list[Any]:
    """Model versions that a filter is for, in order."""
    return list(
        SearchModelVersionUtils.sort(SearchModelVersionUtils.filter(list(versions), filter), list(order_by or ()))
    )


def page_of(found: Sequence[Any], max_results: int, page_token: str | None) -> PagedList[Any]:
    """A page of what was found here."""
    page, token = SearchUtils.paginate(list(found), page_token, max_results)
    return PagedList(page, token)


def _tell(workspace: str, what: str, runs: int, pages: int) -> None:
    """Say once for each kind of search what it costs, and again each time at the level INFO."""
    is_new = what not in _told
    _told.add(what)
    _logger.log(
        logging.WARNING if is_new else logging.INFO,
        "%s can't search with %s: fetched %d runs in %d requests to do it here",
        workspace,
        what,
        runs,
        pages,
    )
