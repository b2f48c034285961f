"""Experiments that several processes make at once."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Experiment, ExperimentTag, LifecycleStage
from mlflow.exceptions import MlflowException

_EXISTS = "RESOURCE_ALREADY_EXISTS"


class _Absent(threading.local):
    """The name that this thread was last told no experiment has."""

    name: str | None = None


class RacingExperiments:
    """The part of a tracking store that finds and makes experiments by name.

    `mlflow.set_experiment` asks for a name and makes the experiment where there is none. Where another process makes it
    in between, MLflow 3 goes on in Default, and MLflow 2 raises. So whoever was told that there is none gets the one
    that the other has made.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._absent = _Absent()

    @abstractmethod
    def _experiment_by_name(self, name: str) -> Experiment | None:
        """Find an experiment, a deleted one too."""

    @abstractmethod
    def _make_experiment(self, name: str, artifact_location: str | None, tags: Sequence[ExperimentTag] | None) -> str:
        """Make an experiment and return its id. Raises MlflowException."""

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        found = self._experiment_by_name(experiment_name)
        self._absent.name = experiment_name if found is None else None
        return found

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Sequence[ExperimentTag] | None = None
    ) -> str:
        was_absent, self._absent.name = self._absent.name == name, None
        try:
            return self._make_experiment(name, artifact_location, tags)
        except MlflowException as error:
            made = self._experiment_by_name(name) if was_absent and error.error_code == _EXISTS else None
            if made is None or made.lifecycle_stage != LifecycleStage.ACTIVE:
                raise
            return str(made.experiment_id)
