"""What every part of `Run` builds on: an opened run, its record, and where its files are."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.types import RunInfo, RunRecord

if TYPE_CHECKING:
    from mlflow_amlstore.core.experiment import Experiment


class OpenRun:
    """A run that was opened; `RunFacts`, `RunMetrics`, `RunFiles` and `Run` itself are its parts."""

    _experiment: "Experiment"
    _info: RunInfo
    _run_type: str | None
    _announce: Callable[[str], None] | None
    """Is told in words what the run was given; None for all but an offline run."""

    @property
    def experiment(self) -> "Experiment":
        """The experiment that it is in."""
        return self._experiment

    @property
    def id(self) -> str:
        """Its id, the one that MLflow knows it by."""
        return self._info.run_id

    @property
    def _records(self) -> CommonStore:
        return self._experiment.workspace.records

    @property
    def _container(self) -> str:
        return run_container(self._info.experiment_id, self._info.run_id)

    def _now(self) -> RunRecord:
        record = self._records.runs.get(self.id)
        self._info = record.info
        return record
