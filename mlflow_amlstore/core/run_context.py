"""The run that a script is in: named by its environment, or else an offline one.

Variables are those that launchers set (azureml-wire.md, section 3.2): AZUREML_RUN_ID or MLFLOW_RUN_ID names the run,
MLFLOW_TRACKING_URI its workspace, or without that AZUREML_SERVICE_ENDPOINT with AZUREML_ARM_….
"""

import os
import sys
import uuid
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.run import Run, set_status
from mlflow_amlstore.core.workspace import Workspace
from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.common_store import CommonRuns
from mlflow_amlstore.records.types import RunError, RunInfo, RunStatus
from mlflow_amlstore.workspace.tracking_uri import workspace_path

_ARM = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")


def run_context(allow_offline: bool = True, environment: Mapping[str, str] = os.environ) -> Run:
    """The run that this process was submitted as; if there is none, an offline run.

    Raises InvalidState if no offline run is allowed; for a submitted run, what opening its workspace and `Run.get`
    raise.
    """
    run_id = environment.get("AZUREML_RUN_ID") or environment.get("MLFLOW_RUN_ID")
    uri = environment.get("MLFLOW_TRACKING_URI") or _uri_of_job(environment)
    if run_id and uri:
        setter = _leave_status_to_launcher if environment.get("AZUREML_RUN_ID") else set_status
        return Run._by_id(Workspace.from_tracking_uri(uri), run_id, status_setter=setter)
    if not allow_offline:
        raise InvalidState(
            "This process isn't a submitted run: that has AZUREML_RUN_ID or MLFLOW_RUN_ID, and MLFLOW_TRACKING_URI, in "
            "its environment. Start one with Experiment(ws, NAME).start_logging()"
        )
    return _offline_run()


def _uri_of_job(environment: Mapping[str, str]) -> str | None:
    """The tracking URI that Azure ML's own variables describe."""
    endpoint = environment.get("AZUREML_SERVICE_ENDPOINT", "")
    names = [quote(environment.get(name, ""), safe="") for name in _ARM]
    if not endpoint or not all(names):
        return None
    scheme = "azureml" if urlsplit(endpoint).scheme == "https" else "azureml+http"
    return f"{scheme}://{urlsplit(endpoint).netloc}/mlflow/v2.0{workspace_path(*names)}"


def _leave_status_to_launcher(runs: CommonRuns, info: RunInfo, status: RunStatus, error: RunError | None) -> RunInfo:
    """Write the error alone: the launcher sets the status, by this process's exit code."""
    return info if error is None else runs.update(info.run_id, error=error)


_offline: Run | None = None  # a process that is forked goes on with it


def _offline_run() -> Run:
    """The one offline run of this process, made when it is first asked for.

    It is a run like any other, of a workspace in a temporary folder, which goes when the process that made it ends.
    """
    global _offline
    if _offline is None:
        import shutil
        import tempfile
        from multiprocessing.util import Finalize

        folder = tempfile.mkdtemp(prefix="amlstore-offline-")
        # Unlike `atexit`, called at the end of a worker of `multiprocessing` too, in the process that made the folder
        # alone, and with this priority after the workers of that have ended.
        Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-1)
        experiment = Experiment(Workspace.create(folder, "offline"), "Offline")
        run_id = f"OfflineRun_{uuid.uuid4()}"
        _offline = experiment._start_run(run_id=run_id, synchronous=True, announce=_print)
    return _offline


def _print(text: str) -> None:
    sys.stdout.write(f"[offline run] {text}\n")
