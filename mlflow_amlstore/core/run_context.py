"""The run that a script is in: named by its environment, or else an offline one.

Variables are those that launchers set (azureml-wire.md, section 3.2): AZUREML_RUN_ID or MLFLOW_RUN_ID names the run.
Its workspace is what AZUREML_SERVICE_ENDPOINT with AZUREML_ARM_… says, as in Azure ML's SDK, else MLFLOW_TRACKING_URI.
"""

import logging
import os
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

from mlflow_amlstore.core.experiment import Experiment
from mlflow_amlstore.core.open_run import Offline
from mlflow_amlstore.core.run import Run, set_status
from mlflow_amlstore.core.workspace import Workspace
from mlflow_amlstore.errors import AmlStoreError, ConfigNotFound, ConfigOfOthers, InvalidState, ReadOnly
from mlflow_amlstore.records.common_store import CommonRuns
from mlflow_amlstore.records.types import RunError, RunInfo, RunStatus
from mlflow_amlstore.workspace.config_json import find_config
from mlflow_amlstore.workspace.tracking_uri import workspace_path

_logger = logging.getLogger(__name__)
_TAKEN_OVER = os.environ.get("MLFLOW_RUN_ID")  # which `mlflow.start_run` removes when it takes the run over
_KEPT_NOWHERE = "What is logged is printed, and kept nowhere"
_ARM = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")


def run_context(allow_offline: bool = True, environment: Mapping[str, str] = os.environ) -> Run:
    """The run that this process was submitted as; if there is none, an offline run.

    Raises InvalidState if no offline run is allowed; for a submitted run, what opening its workspace and `Run.get`
    raise; for an offline run, what opening the workspace at hand raises, unless it is read-only.
    """
    run_id = environment.get("AZUREML_RUN_ID") or environment.get("MLFLOW_RUN_ID") or _TAKEN_OVER
    uri = _uri_of_job(environment) or environment.get("MLFLOW_TRACKING_URI")
    if run_id and uri:
        setter = _leave_status_to_launcher if environment.get("AZUREML_RUN_ID") else set_status
        return Run._by_id(Workspace.from_tracking_uri(uri), run_id, status_setter=setter)
    if not allow_offline:
        raise InvalidState(
            "This process isn't a submitted run: that has AZUREML_RUN_ID or MLFLOW_RUN_ID, and MLFLOW_TRACKING_URI, in "
            "its environment. Start one with Experiment(ws, NAME).start_logging()"
        )
    return _offline_run(run_id)


def workspace_of_submitted_run() -> Workspace | None:
    """The workspace of the run that this process was submitted as; None where it was submitted as none."""
    try:
        return run_context(allow_offline=False).experiment.workspace
    except InvalidState:
        return None


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


def _offline_run(missed: str | None) -> Run:
    """The one offline run of this process, made when it is first asked for.

    Where config.json names a workspace's folder it is a run of that one. Elsewhere it is in a temporary folder, which
    goes when the process that made it ends; a service or Azure ML is left alone. `missed` is the id of the run that
    should have been logged into, where the environment names one and not its workspace.
    """
    global _offline
    if _offline is None:
        at_hand = _in_workspace_at_hand()
        _offline = at_hand or _started_in(_temporary_workspace(), is_kept=False)
        if missed:
            _logger.warning(
                "The environment names the run %r and not its workspace: set MLFLOW_TRACKING_URI. %s",
                missed,
                f"What is logged goes into {at_hand.id}, a new run in {at_hand.experiment.workspace.path}, instead"
                if at_hand
                else _KEPT_NOWHERE,
            )
    return _offline


def _in_workspace_at_hand() -> Run | None:
    """A run of the workspace in a folder that config.json names; None where there is none, or it is read-only.

    Raises what opening it raises: a temporary folder in place of a broken one would lose what is logged.
    """
    from multiprocessing.util import Finalize

    try:
        config = find_config()
        if config.folder is None:
            return None
        run = _started_in(Workspace.from_config(config.file), is_kept=True)
    except (ConfigNotFound, ReadOnly):
        return None
    except ConfigOfOthers as error:  # a model's, say: no reason to stop, and it may hide a workspace above
        _logger.warning("%s. %s", error, _KEPT_NOWHERE)
        return None
    Finalize(None, _end, (run,), exitpriority=0)
    return run


def _started_in(workspace: Workspace, *, is_kept: bool) -> Run:
    offline = Offline(_print, is_kept)
    experiment = Experiment(workspace, "Offline")
    return experiment._start_run(run_id=f"OfflineRun_{uuid.uuid4()}", synchronous=True, offline=offline)


def _temporary_workspace() -> Workspace:
    import shutil
    import tempfile
    from multiprocessing.util import Finalize

    folder = tempfile.mkdtemp(prefix="amlstore-offline-")
    # Unlike `atexit`, called at the end of a worker of `multiprocessing` too, in the process that made the folder
    # alone, and with this priority after the workers of that have ended.
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-1)
    return Workspace.create(folder, "offline")


def _end(run: Run) -> None:
    """Mark a run that the script left running, by how the script ended."""
    with suppress(AmlStoreError):  # its folder may be gone
        if run.get_status() == RunStatus.RUNNING.value:
            run.fail() if hasattr(sys, "last_value") else run.complete()


def _print(text: str) -> None:
    sys.stdout.write(f"[offline run] {text}\n")
