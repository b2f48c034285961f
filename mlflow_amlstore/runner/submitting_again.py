"""Submitting again what was submitted before, with other arguments: the snapshot and the rest are the same."""

import os
import time
import zipfile
from collections.abc import Sequence

from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.acting import this_user
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.types import MACHINE_PROPERTY, RUNS_FOLDER_PROPERTY, SNAPSHOT_PROPERTY, RunStatus
from mlflow_amlstore.runner.launch import Launch, RunFolder, new_run_id, runs_folder_id, variables_of_run
from mlflow_amlstore.runner.slots import slots_of
from mlflow_amlstore.runner.starting import start_in
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace


def submit_again(workspace: EmbeddedWorkspace, run_id: str, arguments: Sequence[str]) -> str:
    """Run a submitted script once more on this machine, as a run of its own; return the new run's id.

    Raises NotFound; InvalidState for a run that wasn't submitted, or kept no snapshot.
    """
    records = workspace.records
    before = records.runs.get(run_id)
    definition = records.runs.definition(run_id)
    snapshot_id = before.properties.get(SNAPSHOT_PROPERTY, "")
    if not definition or not snapshot_id:
        why = "kept no snapshot of its script" if definition else "wasn't submitted"
        raise InvalidState(f"Run {run_id} {why}, so it can't be submitted again")
    slots = slots_of(records.compute_targets, definition["target"])
    if slots is None:
        raise InvalidState(f"Run {run_id} ran on agents; submit to {definition['target']} over the service")
    experiment = records.experiments.get(before.info.experiment_id)
    definition = {**definition, "arguments": list(arguments)}
    new_id = new_run_id(experiment.name, int(time.time()))
    folder = RunFolder.of(new_id)
    lock = folder.make()
    try:
        archive = folder.path / "snapshot.zip"
        records.snapshots.write_zip(snapshot_id, archive)
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder.source)
        archive.unlink()
        records.runs.create(
            experiment.experiment_id,
            run_id=new_id,
            user_id=this_user(),
            status=RunStatus.NOT_STARTED,
            parent_run_id=before.info.parent_run_id,
            tags=before.own_tags,
            properties={
                **before.properties,
                MACHINE_PROPERTY: this_machine(),
                RUNS_FOLDER_PROPERTY: runs_folder_id(),
            },
            definition=definition,
        )
        launch = Launch(
            run_id=new_id,
            experiment_id=experiment.experiment_id,
            workspace=str(workspace.folder),
            definition=definition,
            variables=variables_of_run(
                definition, workspace.root_uri, new_id, experiment.experiment_id, experiment.name
            ),
            target=definition["target"],
            slots=slots,
        )
        start_in(folder, lock, launch)
    except BaseException:
        folder.remove()
        raise
    finally:
        os.close(lock)
    return new_id
