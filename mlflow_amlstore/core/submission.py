"""Submitting a script: its folder is copied and kept, a run is recorded, and a runner is started for it."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlflow_amlstore.core.git import git_properties
from mlflow_amlstore.core.named_texts import texts_of
from mlflow_amlstore.core.run_configuration import say_what_has_no_effect
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig, checked_source
from mlflow_amlstore.core.snapshots import SnapshotEmpty, files_of_snapshot
from mlflow_amlstore.errors import InvalidValue, LocalFileFailed, NotSupported
from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.records.common_store import CommonRuns, CommonStore
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.types import (
    LOCAL_TARGET,
    MACHINE_PROPERTY,
    RUN_TYPE_PROPERTY,
    RUNS_FOLDER_PROPERTY,
    SCRIPT_RUN,
    SNAPSHOT_PROPERTY,
    RunRecord,
    RunStatus,
)
from mlflow_amlstore.runner.definition import check_definition
from mlflow_amlstore.runner.environments import packages_on_ray
from mlflow_amlstore.runner.launch import SDK, Launch, RunFolder, new_run_id, runs_folder_id, variables_of_run
from mlflow_amlstore.runner.ray_address import is_ray_address, is_this_machine
from mlflow_amlstore.runner.sdk_variables import sdk_variables
from mlflow_amlstore.runner.slots import slots_of
from mlflow_amlstore.runner.starting import start_in

_BeforeStart = Callable[[str], object]

if TYPE_CHECKING:
    from mlflow_amlstore.client.run_history.submissions import RemoteSubmissions
    from mlflow_amlstore.core.experiment import Experiment


def submit_script(
    experiment: "Experiment",
    config: object,
    *,
    tags: Mapping[str, str] | None = None,
    name: str | None = None,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    azureml: str = "amlstore",
    before_start: _BeforeStart | None = None,
) -> ScriptRun:
    """Submit a script as a run, and return when its runner has been started.

    The script runs in a copy of its folder, which is as it is now. `before_start` is called with the run's id when its
    record is there and the script hasn't started. Raises what `ScriptRunConfig` says of its source,
    InvalidValue for a folder that is too large, NotFound for a target that isn't there.
    """
    if not isinstance(config, ScriptRunConfig):
        raise InvalidValue("config", type(config).__name__, "must be a ScriptRunConfig")
    if os.name != "posix":
        raise NotSupported("Submitting on Windows", "Submit on Linux, macOS or in WSL")
    if azureml not in ("amlstore", SDK):
        raise InvalidValue("azureml", azureml, 'must be "amlstore" or "sdk"')
    source = checked_source(config)
    definition = config.definition() | ({"azureml": SDK} if azureml == SDK else {})
    submission = Submission(
        run_id=run_id or new_run_id(experiment.name, int(time.time())),
        definition=definition,
        snapshot_id=None,
        name=name,
        user_id=this_user(),
        parent_run_id=parent_run_id,
        tags=texts_of("tags", tags or {}),
        properties=git_properties(source),
    )
    if experiment.workspace._backend.is_azure_ml:
        return _submit_to_azure(experiment, submission, source, before_start)
    check_definition(definition)
    say_what_has_no_effect(config.run_config)
    slots = slots_of(experiment.workspace.records.compute_targets, submission.target)
    if slots is None:
        return _submit_to_agents(experiment, submission, source, before_start)
    if is_ray_address(submission.target):
        _check_ray(definition, experiment.workspace.path)
    return _submit_here(experiment, submission, source, slots, before_start)


@dataclass(frozen=True)
class Submission:
    """A run as it is submitted. `definition` is what the SDK sends of a run configuration."""

    run_id: str
    definition: dict[str, Any]
    snapshot_id: str | None
    name: str | None
    user_id: str
    parent_run_id: str | None
    tags: dict[str, str]
    properties: dict[str, str]

    @property
    def target(self) -> str:
        """The compute target's name or address."""
        return str(self.definition["target"])

    @property
    def has_sdk(self) -> bool:
        """Whether `import azureml` means the SDK in the script."""
        return self.definition.get("azureml") == SDK

    def as_sent(self) -> dict[str, Any]:
        """As a service is sent it."""
        return {
            "Configuration": self.definition,
            "SnapshotId": self.snapshot_id,
            "ParentRunId": self.parent_run_id,
            "DisplayName": self.name,
            "Tags": self.tags,
            "Properties": self.properties,
            "UserName": self.user_id,
        }

    def record(self, runs: CommonRuns, experiment_id: str) -> RunRecord:
        """Record it in an embedded workspace, and return the record."""
        snapshot = {SNAPSHOT_PROPERTY: self.snapshot_id} if self.snapshot_id else {}
        return runs.create(
            experiment_id,
            run_id=self.run_id,
            name=self.name,
            user_id=self.user_id,
            status=RunStatus.NOT_STARTED,
            parent_run_id=self.parent_run_id,
            tags=self.tags,
            properties={RUN_TYPE_PROPERTY: SCRIPT_RUN, **self.properties, **snapshot},
            definition=self.definition,
        )


def _submit_to_azure(
    experiment: "Experiment", submission: Submission, source: Path, before_start: _BeforeStart | None
) -> ScriptRun:
    """Have Azure ML run it. The call has no room for a name, tags and properties, so they follow."""
    if submission.target == LOCAL_TARGET:
        way_out = "Name a compute target of the workspace, or start the script yourself"
        raise NotSupported("Submitting to this machine on a workspace of Azure ML", way_out)
    records = experiment.workspace.records
    submission = replace(submission, snapshot_id=_kept(source, records))
    run_id = _service_of(experiment).submit_to_azure(experiment.name, submission.run_id, submission.as_sent())
    if submission.name:
        records.runs.update(run_id, name=submission.name)
    if submission.tags:
        records.runs.set_tags(run_id, submission.tags)
    if submission.properties:
        records.runs.add_properties(run_id, submission.properties)
    return _run(experiment, records.runs.get(run_id))


def _submit_to_agents(
    experiment: "Experiment", submission: Submission, source: Path, before_start: _BeforeStart | None
) -> ScriptRun:
    """Have it wait on the service for an agent, which fetches the snapshot."""
    records = experiment.workspace.records
    submission = replace(submission, snapshot_id=_kept(source, records))
    _service_of(experiment).submit_to_agents(experiment.name, submission.run_id, submission.as_sent())
    if before_start is not None:
        before_start(submission.run_id)
    return _run(experiment, records.runs.get(submission.run_id))


def _submit_here(
    experiment: "Experiment", submission: Submission, source: Path, slots: int, before_start: _BeforeStart | None
) -> ScriptRun:
    """Start a runner on this machine, which runs the script or has Ray run it."""
    workspace = experiment.workspace
    run_id, definition = submission.run_id, submission.definition
    of_machine = {MACHINE_PROPERTY: this_machine(), RUNS_FOLDER_PROPERTY: runs_folder_id()}
    submission = replace(submission, properties=submission.properties | of_machine)
    folder = RunFolder.of(run_id)
    lock = folder.make()
    try:
        copied = _copy(source, folder.source)
        if copied and definition["history"]["snapshotProject"]:
            submission = replace(submission, snapshot_id=workspace.records.snapshots.store(copied))
        variables = variables_of_run(definition, workspace._root_uri, run_id, experiment.id, experiment.name)
        token = ""
        if workspace.path is not None:
            record = submission.record(workspace.records.runs, experiment.id)
        else:
            token = _submitted_from_here(experiment, submission)
            record = workspace.records.runs.get(run_id)
            if submission.has_sdk:
                variables = {**sdk_variables(workspace._root_uri, experiment.id, experiment.name), **variables}
        if before_start is not None:
            before_start(run_id)
        start_in(
            folder,
            lock,
            Launch(
                run_id=run_id,
                experiment_id=experiment.id,
                workspace=str(workspace.path or workspace._root_uri),
                definition=definition,
                variables=variables,
                has_sdk=submission.has_sdk,
                copied_files=len(copied),
                copied_bytes=sum(file.stat().st_size for _, file in copied),
                target=submission.target,
                slots=slots,
                token=token,
            ),
        )
    except BaseException:
        folder.remove()
        raise
    finally:
        os.close(lock)
    return _run(experiment, record)


def _submitted_from_here(experiment: "Experiment", submission: Submission) -> str:
    """Have a service record what this machine runs; return the run's own token."""
    service = _service_of(experiment)
    if service.has_limits:
        way_out = "Serve the workspace without --parity"
        raise NotSupported("Submitting to a service that is as strict as Azure ML", way_out)
    return service.submit_local(experiment.name, submission.run_id, submission.as_sent())


def _check_ray(definition: Mapping[str, Any], folder: Path | None) -> None:
    """Refuse at once what Ray can't run, or a cluster that doesn't answer."""
    from mlflow_amlstore.runner.ray_job import RayJobs

    target = definition["target"]
    if folder is not None and not is_this_machine(target):
        rule = f"is another machine, whose scripts can't reach the workspace in the folder {folder}"
        way_out = "Serve it (`amlstore serve`), open it by Workspace.from_url(), and submit to that"
        raise InvalidValue("compute_target", target, f"{rule}. {way_out}")
    packages_on_ray(definition.get("environment"), is_embedded=folder is not None)
    RayJobs(target).check()


def _service_of(experiment: "Experiment") -> "RemoteSubmissions":
    from mlflow_amlstore.client.connection import connection_of
    from mlflow_amlstore.client.run_history.submissions import RemoteSubmissions

    return RemoteSubmissions(connection_of(experiment.workspace._root_uri))


def _run(experiment: "Experiment", record: RunRecord) -> ScriptRun:
    run = ScriptRun._of(experiment, record)
    assert isinstance(run, ScriptRun)
    return run


def _kept(source: Path, records: CommonStore) -> str | None:
    """Keep a folder as a snapshot and return its id; None for an empty one.

    A copy is kept, which nobody changes while it is hashed and sent.
    """
    with TemporaryDirectory(prefix="amlstore-snapshot-") as folder:
        copied = _copy(source, Path(folder))
        return records.snapshots.store(copied) if copied else None


def _copy(source: Path, target: Path) -> list[tuple[str, Path]]:
    """Copy a folder as its snapshot has it; return the paths with their copies."""
    try:
        items = files_of_snapshot(source)
    except SnapshotEmpty:
        return []
    copied = []
    for path, file in items:
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy(file, copy)
        except OSError as error:  # it has gone since the folder was listed, say
            raise LocalFileFailed(str(error.filename or file), error.strerror or str(error)) from error
        copied.append((path, copy))
    return copied
