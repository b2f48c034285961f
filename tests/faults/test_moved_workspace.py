"""A workspace is one folder: moved, copied or zipped it opens elsewhere, and nothing in it says where it was."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from mlflow_amlstore.core import Workspace

NEEDLE = "the_old_place"
NAME_ARGUMENT = "name" if hasattr(mlflow.entities, "LoggedModel") else "artifact_path"  # as MLflow 3 and 2 call it


class Doubler(mlflow.pyfunc.PythonModel):
    """The smallest model there is."""

    def predict(self, context: object, model_input: list[int], params: object = None) -> list[int]:
        return [2 * number for number in model_input]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a closed workspace with a run, a logged model, and versions registered in several ways."""
    workspace = Workspace.create(tmp_path / NEEDLE)
    uri = workspace.get_mlflow_tracking_uri()
    client = MlflowClient(uri)
    run_id = client.create_run("0", run_name="moved").info.run_id
    client.log_metric(run_id, "m", 1.5)
    client.log_text(run_id, "hello", "folder/note.txt")
    client.log_text(run_id, "{}", "model/MLmodel")
    client.create_registered_model("model")
    artifact_uri = client.get_run(run_id).info.artifact_uri
    client.create_model_version("model", f"{artifact_uri}/model", run_id)
    client.create_model_version("model", f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias("model", "champion", 1)
    workspace.close()
    return workspace.path


def _moved(old: Path, new: Path) -> Path:
    return Path(shutil.move(old, new))


def _copied(old: Path, new: Path) -> Path:
    return Path(shutil.copytree(old, new))


def _zipped(old: Path, new: Path) -> Path:
    archive = shutil.make_archive(str(new), "zip", old)
    shutil.rmtree(old)
    shutil.unpack_archive(archive, new)
    return new


@pytest.mark.parametrize("carry", [_moved, _copied, _zipped])
@pytest.mark.parametrize("name", ["new", "a new place #1 100% ü"])
def test_a_workspace_carried_elsewhere_opens_there(
    old: Path, tmp_path: Path, carry: Callable[[Path, Path], Path], name: str
) -> None:
    new = carry(old, tmp_path / name)

    workspace = Workspace.from_config(new)
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    (run,) = client.search_runs(["0"])
    version = client.get_model_version_by_alias("model", "champion")

    assert workspace.path == new
    assert run.data.metrics == {"m": 1.5}
    assert NEEDLE not in run.info.artifact_uri + version.source + client.get_experiment("0").artifact_location
    assert version.source == f"{run.info.artifact_uri}/model"
    assert client.get_model_version_download_uri("model", "1") == version.source
    note = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/folder/note.txt")
    assert Path(note).read_text() == "hello"
    assert Path(mlflow.artifacts.download_artifacts(f"{version.source}/MLmodel")).read_text() == "{}"
    client.log_metric(run.info.run_id, "m", 2.5, step=1)
    assert client.get_run(run.info.run_id).data.metrics == {"m": 2.5}


def test_nothing_in_the_folder_names_its_path(old: Path) -> None:
    holding = [path for path in old.rglob("*") if path.is_file() and NEEDLE.encode() in path.read_bytes()]

    # config.json has the workspace's name, which is the folder's where none was given.
    assert [path.name for path in holding] == ["config.json"]
    assert (old / "config.json").read_text() == f'{{\n  "workspace_name": "{NEEDLE}",\n  "path": "."\n}}\n'
    with closing(sqlite3.connect(old / "records.db")) as connection:
        assert NEEDLE not in "\n".join(connection.iterdump())


def test_a_model_that_mlflow_logged_is_loaded_in_the_new_place(amlstore_workspace: Workspace, tmp_path: Path) -> None:
    with mlflow.start_run():
        mlflow.pyfunc.log_model(**{NAME_ARGUMENT: "doubler"}, python_model=Doubler(), registered_model_name="doubler")
    old = amlstore_workspace.path
    amlstore_workspace.close()
    naming = sorted(path for path in old.rglob("*") if path.is_file() and str(old).encode() in path.read_bytes())
    print("files in which MLflow itself wrote the old path:", [_kind(path) for path in naming])

    new = Workspace.from_config(_moved(old, tmp_path / "new"))
    mlflow.set_tracking_uri(new.get_mlflow_tracking_uri())
    mlflow.set_registry_uri(new.get_mlflow_tracking_uri())

    assert [path for path in naming if path.name == "records.db"] == []
    assert mlflow.pyfunc.load_model("models:/doubler/1").predict([21]) == [42]


def _kind(content: Path) -> str:
    lines = content.read_text(errors="replace").splitlines()
    return f"{content.parent.name}/{content.name[:8]}: " + "; ".join(line for line in lines if "/workspace" in line)
