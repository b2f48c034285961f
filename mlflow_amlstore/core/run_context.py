"""The run that a script is in: named by its environment, or else an offline one.

Variables are those that launchers set (azureml-wire.md, section 3.2): AZUREML_RUN_ID or MLFLOW_RUN_ID names the run,
MLFLOW_TRACKING_URI its workspace, or without that AZUREML_SERVICE_ENDPOINT with AZUREML_ARM_….
"""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from multiprocessing.util import Finalize
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.open_run import PathText
from mlflow_amlstore.core.run import Run, start_run
from mlflow_amlstore.core.workspace import Workspace
from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.types import Cell, MetricKind, RunError, RunStatus

_OFFLINE_EXPERIMENT = "Offline"
_ARM = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")


class SubmittedRun(Run):
    """The run that a launcher started this process for: its status is the launcher's to set, by the exit code."""

    def _set_status(self, status: RunStatus, error: RunError | None = None) -> None:
        if error is not None:
            self._info = self._records.runs.update(self.id, error=error)


class OfflineRun(Run):
    """The run of a script that nobody submitted: it prints what is logged, and keeps it until the process ends.

    It is a run like any other, of a workspace in a temporary folder, which goes when the process that made it ends. A
    worker that is forked after that logs into the same run; one that is started anew, or forked before, has its own.
    """

    def log(self, name: str, value: object, description: str = "", step: int | None = None) -> None:
        """As `Run.log`, and printed."""
        super().log(name, value, description, step)
        _say(f"{name} = {value}" + ("" if step is None else f" (step {step})"))

    def _add(self, name: str, kind: MetricKind, columns: Mapping[str, Sequence[Cell]]) -> None:
        super()._add(name, kind, columns)
        values = next(iter(columns.values())) if list(columns) == [""] else columns
        _say(f"{name} = {values} ({kind.words})")

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """As `Run.set_tags`, and printed."""
        super().set_tags(tags)
        _say(f"tags {dict(tags)}")

    def upload_file(self, name: str, path_or_stream: PathText | BinaryIO, datastore_name: str | None = None) -> None:
        """As `Run.upload_file`, and printed."""
        super().upload_file(name, path_or_stream, datastore_name)
        _say(f"file {name}")


def run_context(allow_offline: bool = True, environment: Mapping[str, str] = os.environ) -> Run:
    """The run that this process was submitted as; without one, an offline run where that is allowed.

    Raises InvalidState where it isn't; for a run that is named, what opening its workspace and `Run.get` raise.
    """
    run_id = environment.get("AZUREML_RUN_ID") or environment.get("MLFLOW_RUN_ID")
    uri = environment.get("MLFLOW_TRACKING_URI") or _uri_of_job(environment)
    if run_id and uri:
        run = Run.get(Workspace.from_tracking_uri(uri), run_id)
        return SubmittedRun(run.experiment, run.id) if environment.get("AZUREML_RUN_ID") else run
    if not allow_offline:
        raise InvalidState(
            "This process isn't a submitted run: that has AZUREML_RUN_ID or MLFLOW_RUN_ID, and MLFLOW_TRACKING_URI, in "
            "its environment. Start one with Experiment(ws, NAME).start_logging()"
        )
    return _offline_run()


def _uri_of_job(environment: Mapping[str, str]) -> str | None:
    """The tracking URI that Azure ML's own variables come to."""
    endpoint = environment.get("AZUREML_SERVICE_ENDPOINT", "")
    names = [quote(environment.get(name, ""), safe="") for name in _ARM]
    if not endpoint or not all(names):
        return None
    subscription, group, workspace = names
    scheme = "azureml" if urlsplit(endpoint).scheme == "https" else "azureml+http"
    return (
        f"{scheme}://{urlsplit(endpoint).netloc}/mlflow/v2.0/subscriptions/{subscription}/resourceGroups/{group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
    )


_offline: OfflineRun | None = None  # a process that is forked goes on with it


def _offline_run() -> Run:
    """The one offline run of this process, made when it is first asked for."""
    global _offline
    if _offline is None:
        folder = tempfile.mkdtemp(prefix="amlstore-offline-")
        # Unlike `atexit`, called at the end of a worker of `multiprocessing` too, in the process that made the folder
        # alone, and with this priority after the workers of that have ended.
        Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-1)
        experiment = Experiment(Workspace.create(folder, "offline"), _OFFLINE_EXPERIMENT)
        started = start_run(experiment, run_id=f"OfflineRun_{uuid.uuid4()}")
        _offline = OfflineRun(experiment, started.id, synchronous=True)
    return _offline


def _say(text: str) -> None:
    sys.stdout.write(f"[offline run] {text}\n")
