"""`ScriptRun`: a run whose script was submitted."""

from typing import Any

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.core.run_configuration import RunConfiguration
from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.canceling import cancel
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import LOCAL_TARGET, SCRIPT_RUN, RunRecord
from mlflow_amlstore.runner.launch import RunFolder


class ScriptRun(Run):
    """A run whose script was submitted, and runs on its own.

    >>> run = experiment.submit(ScriptRunConfig("src", script="train.py"))
    >>> run.wait_for_completion()["status"]
    'Completed'
    """

    def _now(self) -> RunRecord:
        record = super()._now()
        if record.info.status not in ENDED and self._experiment.workspace._look_for_dead(self.id):
            record = super()._now()
        return record

    def cancel(self) -> None:
        """Have the script and all that it started ended, and return at once.

        It is told by SIGTERM first, and killed some seconds later. The status is CancelRequested till then. A run that
        has ended stays as it is.
        """
        cancel(self._records.runs, self.id)

    def clean(self) -> list[str]:
        """Remove the run's copy of the source folder on this machine, where it is left; return what was removed.

        Raises InvalidState while the run goes on.
        """
        folder = RunFolder.of(self.id)
        if folder.is_looked_after():
            raise InvalidState(f"Run {self.id} goes on in {folder.path}. Cancel it, or wait for its end")
        if not folder.path.exists():
            return []
        folder.remove()
        return [f"Removed {folder.path}"]

    def get_environment(self) -> Environment:
        """Return the environment that the run was submitted with."""
        return RunConfiguration.of_definition(self._records.runs.definition(self.id)).environment

    def get_details(self) -> dict[str, Any]:
        definition = self._records.runs.definition(self.id)
        return {**super().get_details(), "target": definition.get("target", LOCAL_TARGET), "runDefinition": definition}


Run._kinds[SCRIPT_RUN] = ScriptRun
