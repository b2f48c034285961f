"""Workspaces below one another, and folders that are moved away or made anew under a process that logs."""

import pickle
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.workspace.opening import open_folder


def test_a_workspace_below_another_keeps_its_own_files(tmp_path: Path) -> None:
    outer = Workspace.create(tmp_path / "outer")
    inner = Workspace.create(tmp_path / "outer" / "deep" / "inner")
    for workspace in (outer, inner):
        client = MlflowClient(workspace.get_mlflow_tracking_uri())
        run = client.create_run("0")
        client.log_text(run.info.run_id, workspace.name, "name.txt")
        text = mlflow.artifacts.load_text(f"{client.get_run(run.info.run_id).info.artifact_uri}/name.txt")
        assert text == workspace.name


def test_what_an_open_client_logs_after_the_folder_was_deleted_and_made_anew_is_refused_not_lost(
    tmp_path: Path,
) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 1.0)

    shutil.rmtree(workspace.path)
    with pytest.raises(MlflowException, match="No workspace in"):
        client.log_metric(run_id, "m", 2.0)
    made_anew = Workspace.create(workspace.path)

    for call in (lambda: client.log_metric(run_id, "m", 3.0), lambda: client.create_run("0")):
        with pytest.raises(MlflowException, match="holds another workspace than when it was opened") as gone:
            call()
        assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert list(made_anew.experiments) == ["Default"]
    assert list(made_anew.experiments["Default"].get_runs()) == []


def test_nothing_is_written_to_the_old_place_of_a_workspace_that_was_moved(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "old")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "before", "a.txt")

    moved = shutil.move(workspace.path, tmp_path / "new")

    with pytest.raises(MlflowException, match="No workspace in"):
        client.log_text(run_id, "after", "b.txt")
    with pytest.raises(MlflowException, match="No workspace in"):
        client.log_metric(run_id, "m", 1.0)
    assert not workspace.path.exists()
    found = open_folder(Path(moved)).records.files.list_all(run_container("0", run_id))
    assert [file.path for file in found] == ["a.txt"]


def test_a_workspace_object_can_be_sent_to_another_process(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws", name="named")
    again = pickle.loads(pickle.dumps(workspace))
    assert (again.name, again.path) == ("named", workspace.path)
    assert again.get_mlflow_tracking_uri() == workspace.get_mlflow_tracking_uri()
