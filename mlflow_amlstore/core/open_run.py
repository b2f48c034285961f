"""What every part of `Run` builds on: an opened run, its record, and where its files are."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mlflow_amlstore.errors import AttributeNotSupported
from mlflow_amlstore.records.common_store import CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunInfo, RunRecord

if TYPE_CHECKING:
    from mlflow_amlstore.core.experiment import Experiment


class Offline(NamedTuple):
    """What an offline run does besides: `announce` is told in words what it is given. Unless `is_kept` it goes when the
    process ends, and gives nothing that could be logged into."""

    announce: Callable[[str], None]
    is_kept: bool


class OpenRun:
    """A run that was opened; `RunFacts`, `RunMetrics`, `RunFiles` and `Run` itself are its parts."""

    _experiment: "Experiment"
    _info: RunInfo
    _run_type: str | None
    _offline: Offline | None

    @property
    def experiment(self) -> "Experiment":
        """The experiment that it is in.

        Raises AttributeNotSupported, which is an AttributeError, for an offline run that is kept nowhere.
        """
        self._must_be_kept("Run.experiment")
        return self._experiment

    def _must_be_kept(self, what: str) -> None:
        if self._offline is not None and not self._offline.is_kept:
            raise AttributeNotSupported(
                f"{what} of an offline run",
                "Run the script where config.json names a workspace's folder (`amlstore init` makes one), or submit it",
            )

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
        runs = self._records.runs
        record = runs.get(self.id)
        if record.info.status not in ENDED and self._experiment.workspace._look_for_dead():
            record = runs.get(self.id)
        self._info = record.info
        return record
