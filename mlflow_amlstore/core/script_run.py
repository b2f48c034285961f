"""`ScriptRun`: a run whose script was submitted."""

import os
import sys
import time
from typing import Any

from mlflow_amlstore.core.environment import Environment
from mlflow_amlstore.core.growing_logs import GrowingLogs
from mlflow_amlstore.core.run import Run
from mlflow_amlstore.core.run_configuration import RunConfiguration
from mlflow_amlstore.errors import ActivityFailed, InvalidState
from mlflow_amlstore.records.canceling import cancel
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import MACHINE_PROPERTY, SCRIPT_RUN, RunError, RunRecord, RunStatus
from mlflow_amlstore.runner.launch import RunFolder

_LOOKED_EVERY_S = 0.05


class ScriptRun(Run):
    """A run whose script was submitted, and runs on its own.

    >>> run = experiment.submit(ScriptRunConfig("src", script="train.py"))
    >>> run.wait_for_completion()["status"]
    'Completed'
    """

    def _now(self) -> RunRecord:
        record = super()._now()
        status = record.info.status
        if status in ENDED or record.properties.get(MACHINE_PROPERTY) != this_machine():
            return record
        folder = RunFolder.of(self.id)
        if folder.is_looked_after():
            return record
        record = super()._now()  # it may have ended since
        if record.info.status not in ENDED:
            self._set_died()
            record = super()._now()
        return record

    def _set_died(self) -> None:
        """Nobody looks after the run any more: its runner was killed, or this machine lost power."""
        from mlflow_amlstore.runner.recording import record_death

        folder = RunFolder.of(self.id)
        lock = folder.take()
        why = "The process that looked after the run was killed, or the machine stopped"
        try:
            if lock is not None and (folder.path / "launch.json").exists():
                record_death(folder.read(), folder, why)
                folder.remove()
                return
            error = RunError("RunnerKilled", why)
            self._records.runs.update(self.id, status=RunStatus.FAILED, end_ms=time.time_ns() // 1_000_000, error=error)
        finally:
            if lock is not None:
                os.close(lock)

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
        return {**super().get_details(), "target": definition.get("target", "local"), "runDefinition": definition}

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until the run has ended and return its details; with `show_output`, print its logs as they grow.

        Raises ActivityFailed with the run's error if it failed, unless `raise_on_error` is False. A canceled run raises
        nothing, as in the SDK.
        """
        if show_output:
            self._stream()
        else:
            self._wait()
        details = self.get_details()
        if raise_on_error and details["status"] == RunStatus.FAILED.value:
            raise ActivityFailed(self.id, details.get("error"))
        return details

    def _wait(self) -> None:
        while self._now().info.status not in ENDED:
            time.sleep(_LOOKED_EVERY_S)

    def _stream(self) -> None:
        """Print where the run is seen, its logs, and a summary, in the SDK's words."""
        where = f"RunId: {self.id}\nWeb View: {self.get_portal_url()}\n"
        _print(where)
        headed = set()
        for path, chunk in GrowingLogs(self).until_its_end():
            if path not in headed:
                headed.add(path)
                _print(f"\nStreaming {path}\n{'=' * (len(path) + 10)}\n\n")
            _write(chunk)
        _print(f"\nExecution Summary\n=================\n{where}")


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _write(chunk: bytes) -> None:
    """Write a log's bytes as they are, where standard output takes bytes."""
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:  # a notebook's
        sys.stdout.write(chunk.decode(errors="replace"))
    else:
        sys.stdout.flush()
        raw.write(chunk)
    sys.stdout.flush()


Run._kinds[SCRIPT_RUN] = ScriptRun
