"""Runs of a service's workspace as MLflow's entities: with what their journals add, and searched."""

from collections.abc import Iterable, Sequence
from typing import Any

from mlflow.entities import Run, ViewType

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import VALUES_TAG, YES
from mlflow_amlstore.client.run_messages import RunMessages
from mlflow_amlstore.plugin import remote_entities
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import call

_SEARCH = "/api/2.0/mlflow/runs/search"
_VIEWS = {ViewType.ACTIVE_ONLY: "ACTIVE_ONLY", ViewType.DELETED_ONLY: "DELETED_ONLY", ViewType.ALL: "ALL"}

RunPage = tuple[list[Run], str | None]
"""Runs, and the token of the next page."""


class WholeRuns:
    """Runs with all that was logged into them, of one workspace."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self.connection, self._messages = connection, RunMessages(connection)

    def run(self, message: Any) -> Run:
        """A run, of its message and its journal. Raises MlflowException."""
        with as_mlflow_errors():
            return remote_entities.run(self._messages.whole(message))

    def runs(self, messages: Sequence[Any]) -> list[Run]:
        """Runs in their order. Raises MlflowException."""
        with as_mlflow_errors():
            return [remote_entities.run(message) for message in self._messages.all_whole(messages)]


class RunSearch:
    """One search in a workspace: of these experiments, in this view."""

    def __init__(self, runs: WholeRuns, experiment_ids: Iterable[str], run_view_type: int) -> None:
        self._runs = runs
        self._experiment_ids = [str(experiment_id) for experiment_id in experiment_ids]
        self._view = _VIEWS.get(run_view_type, run_view_type)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for searches in the same place."""
        return (*self._experiment_ids, self._view)

    def page(
        self, filter: str | None, order_by: Sequence[str] | None, max_results: int | None, token: str | None
    ) -> RunPage:
        """Ask the workspace for a page of runs. Raises MlflowException."""
        given = {"filter": filter, "max_results": max_results, "order_by": list(order_by or ()), "page_token": token}
        answer = self._ask(given)
        return self._runs.runs(answer.get("runs") or ()), answer.get("next_page_token") or None

    def has_values_elsewhere(self) -> bool:
        """Ask it whether some of these runs' params or tags aren't in their records. Raises MlflowException."""
        return bool(self._ask({"filter": f"tags.{VALUES_TAG} = '{YES}'", "max_results": 1}).get("runs"))

    def _ask(self, given: dict[str, Any]) -> Any:
        where = {"experiment_ids": self._experiment_ids, "run_view_type": self._view}
        return call(self._runs.connection, "POST", _SEARCH, {**where, **given})
