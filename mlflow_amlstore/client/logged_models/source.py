"""Where a workspace's logged models are: what its endpoints and the journals of its runs both do."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from mlflow_amlstore.client.run_calls import Pair
from mlflow_amlstore.client.run_log import RunLog
from mlflow_amlstore.records.common_store import CommonLoggedModels
from mlflow_amlstore.records.types import LoggedModelRecord, Page

Json = dict[str, Any]


class LoggedModelSource(CommonLoggedModels, Protocol):
    """The logged models of one workspace. Safe across threads. Raises what `Connection.request` does."""

    def find_page(
        self,
        experiment_ids: Sequence[str],
        *,
        filter: str | None,
        datasets: Sequence[Json],
        order_by: Sequence[Json],
        max_results: int,
        page_token: str | None,
    ) -> Page[LoggedModelRecord] | None:
        """Return a page of a search by MLflow's own fields; None where the caller must search `in_experiments`."""
        return None

    @abstractmethod
    def in_experiments(self, experiment_ids: Sequence[str]) -> list[LoggedModelRecord]:
        """Return every model of these experiments that isn't deleted, in no order."""

    def find_in_run(self, model_id: str) -> LoggedModelRecord | None:
        """Return a model that the workspace doesn't know by its id, because its run keeps it; None for any other.

        Raises NotFound.
        """
        return None

    def log(
        self, run_log: RunLog, run_id: str, metrics: Sequence[Json], params: Sequence[Pair], tags: Sequence[Pair]
    ) -> None:
        """Log into a run as `RunLog.log` does, with metrics of which some are about logged models (`model_id`)."""
        run_log.log(run_id, metrics, params, tags)

    @abstractmethod
    def log_inputs(self, run_id: str, datasets: Sequence[Json], model_ids: Sequence[str]) -> None:
        """Record datasets, in messages of MLflow's, and logged models that went into a run."""

    @abstractmethod
    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        """Record logged models, each with its step, that came out of a run."""
