"""Submitting a script: its folder is copied and kept, a run is recorded, and a runner is started for it."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_amlstore.core.compute import slots_of
from mlflow_amlstore.core.git import git_properties
from mlflow_amlstore.core.named_texts import texts_of
from mlflow_amlstore.core.run_configuration import say_what_has_no_effect
from mlflow_amlstore.core.script_run import MACHINE_PROPERTY, RUN_TYPE, ScriptRun, this_machine
from mlflow_amlstore.core.script_run_config import ScriptRunConfig, checked_source
from mlflow_amlstore.core.snapshots import SnapshotEmpty, files_of_snapshot
from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.records.types import RUN_TYPE_PROPERTY, SNAPSHOT_PROPERTY, RunStatus
from mlflow_amlstore.runner.launch import Launch, RunFolder, new_run_id, slots_folder, start_runner
from mlflow_amlstore.runner.ranks import process_count
from mlflow_amlstore.runner.slots import Slots

if TYPE_CHECKING:
    from mlflow_amlstore.core.experiment import Experiment


def submit_script(
    experiment: "Experiment",
    config: object,
    *,
    tags: Mapping[str, str] | None = None,
    name: str | None = None,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    before_start: Callable[[str], object] | None = None,
) -> ScriptRun:
    """Submit a script as a run, and return when its runner has been started.

    The script runs in a copy of its folder, which is as it is now. `before_start` is called with the run's id when its
    record is there and the script hasn't started. Raises what `ScriptRunConfig` says of its source,
    InvalidValue for a folder that is too large, NotFound for a target that isn't there.
    """
    if not isinstance(config, ScriptRunConfig):
        raise InvalidValue("config", type(config).__name__, "must be a ScriptRunConfig")
    workspace = experiment.workspace
    if os.name != "posix":
        raise NotSupported("Submitting on Windows", "Submit on Linux, macOS or in WSL")
    if workspace.path is None:
        raise NotSupported("Submitting over a service", "Submit on an embedded workspace, or start the script yourself")
    source = checked_source(config)
    definition = config.definition()
    process_count(definition)  # refuses what one machine can't do
    say_what_has_no_effect(config.run_config)
    slots = slots_of(workspace.records.compute_targets, definition["target"])
    given_tags = texts_of("tags", tags or {})
    run_id = run_id or new_run_id(experiment.name, int(time.time()))
    folder = RunFolder.of(run_id)
    lock = folder.make()
    opened = [lock]
    try:
        properties = {RUN_TYPE_PROPERTY: RUN_TYPE, MACHINE_PROPERTY: this_machine(), **git_properties(source)}
        copied = _copy(source, folder.source)
        if definition["history"]["snapshotProject"] and copied:
            properties[SNAPSHOT_PROPERTY] = workspace.records.snapshots.store(copied)
        record = workspace.records.runs.create(
            experiment.id,
            run_id=run_id,
            name=name,
            user_id=this_user(),
            status=RunStatus.NOT_STARTED,
            parent_run_id=parent_run_id,
            tags=given_tags,
            properties=properties,
            definition=definition,
        )
        if before_start is not None:
            before_start(run_id)
        variables = {
            "MLFLOW_TRACKING_URI": workspace._root_uri,
            "MLFLOW_RUN_ID": run_id,
            "MLFLOW_EXPERIMENT_ID": experiment.id,
            "MLFLOW_EXPERIMENT_NAME": experiment.name,
            "AZUREML_RUN_ID": run_id,
            **definition["environment"]["environmentVariables"],
            **definition["environmentVariables"],
        }
        ticket = Slots(slots_folder(), definition["target"], slots).line_up()
        opened.append(ticket.lock)
        folder.write(
            Launch(
                run_id=run_id,
                experiment_id=experiment.id,
                workspace=str(workspace.path),
                definition=definition,
                variables=variables,
                target=definition["target"],
                slots=slots,
                ticket=ticket.name,
            )
        )
        start_runner(folder, lock, ticket.lock)
    except BaseException:
        folder.remove()
        raise
    finally:
        for each in opened:
            os.close(each)
    run = ScriptRun._of(experiment, record)
    assert isinstance(run, ScriptRun)
    return run


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
        shutil.copy(file, copy)
        copied.append((path, copy))
    return copied
