"""Runs of a service's workspace as MLflow's entities: with what their journals add, and searched."""

from collections.abc import Iterable, Sequence
from typing import Any

from mlflow.entities import Run, ViewType

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import JOURNAL_TAG, VALUES_TAG, YES, journal_of
from mlflow_amlstore.client.journal.keeping import MARKS
from mlflow_amlstore.client.journal.values import with_more_values
from mlflow_amlstore.client.logged_models.journaled import JournaledModels
from mlflow_amlstore.client.run_calls import tags_of
from mlflow_amlstore.plugin import remote_entities
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import call

_SEARCH = "/api/2.0/mlflow/runs/search"
_READERS = 8
_VIEWS = {ViewType.ACTIVE_ONLY: "ACTIVE_ONLY", ViewType.DELETED_ONLY: "DELETED_ONLY", ViewType.ALL: "ALL"}

RunPage = tuple[list[Run], str | None]
"""Runs, and the token of the next page."""


class WholeRuns:
    """Runs with all that was logged into them, of one workspace."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self.connection, self._journaled_models = connection, JournaledModels(connection)

    def run(self, message: Any) -> Run:
        """A run, of its message and its journal. Raises MlflowException."""
        with as_mlflow_errors():
            whole = self._with_journal(message) if self._may_have_journal(message) else message
        return remote_entities.run(whole)

    def runs(self, messages: Sequence[Any]) -> list[Run]:
        """Runs in their order, whose journals are read side by side. Raises MlflowException."""
        if not any(map(self._may_have_journal, messages)):
            return [remote_entities.run(message) for message in messages]
        return at_once(self.run, messages, threads=_READERS)

    def _may_have_journal(self, message: Any) -> bool:
        """Whether a run's tags tell of a journal, or are so many that making room may have been interrupted."""
        tags, limits = tags_of(message), self.connection.limits
        return JOURNAL_TAG in tags or (limits is not None and len(tags) >= limits.tags_per_run - len(MARKS))

    def _with_journal(self, message: Any) -> Any:
        run_id = message["info"]["run_id"]
        entries = journal_of(self.connection, run_id).entries()
        message = with_more_values(message, entries)
        models = self._journaled_models.of_entries(run_id, entries)
        outputs = [{"model_id": model_id, "step": step} for model_id, step in models.outputs]
        inputs = [{"model_id": model_id} for model_id in models.inputs]
        its_inputs, its_outputs = message.get("inputs") or {}, message.get("outputs") or {}
        return {
            **message,
            "inputs": {**its_inputs, "model_inputs": [*its_inputs.get("model_inputs", ()), *inputs]},
            "outputs": {**its_outputs, "model_outputs": [*its_outputs.get("model_outputs", ()), *outputs]},
        }


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
