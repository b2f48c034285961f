"""Making and opening embedded workspaces."""

import errno
import shutil
from pathlib import Path

import pytest

from mlflow_amlstore.errors import (
    ConfigInvalid,
    DiskFull,
    InvalidValue,
    NotSupported,
    StorageFailed,
    TrackingUriInvalid,
    WorkspaceNotFound,
)
from mlflow_amlstore.workspace.config_json import read_config, write_config
from mlflow_amlstore.workspace.opening import create_workspace, open_folder, open_workspace


def test_a_new_workspace_is_a_folder_with_a_config_that_doesnt_name_it(tmp_path: Path) -> None:
    opened = create_workspace(tmp_path / "deep/er", name="mine")

    assert opened.folder == tmp_path / "deep/er"
    assert (opened.folder / "config.json").read_text() == '{\n  "workspace_name": "mine",\n  "path": "."\n}\n'
    assert [experiment.name for experiment in opened.records.experiments.search().items] == ["Default"]


def test_creating_where_a_workspace_is_opens_it_and_keeps_its_name(tmp_path: Path) -> None:
    first = create_workspace(tmp_path, name="first")
    first.records.experiments.create("kept")

    again = create_workspace(tmp_path, name="second")

    assert again is first
    assert read_config(tmp_path / "config.json").workspace_name == "first"
    assert again.records.experiments.find_by_name("kept")


def test_creating_where_config_json_means_another_workspace_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json", {"path": "elsewhere"})

    with pytest.raises(ConfigInvalid, match="it means another workspace; choose an empty folder for the new one"):
        create_workspace(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_workspace_is_opened_once_in_a_process_however_it_is_named(tmp_path: Path) -> None:
    opened = create_workspace(tmp_path / "ws")
    (tmp_path / "link").symlink_to(tmp_path / "ws")

    assert open_folder(tmp_path / "link") is opened
    assert open_workspace(f"{opened.root_uri}?expires=2020-01-01T00:00:00Z") is opened  # long gone by: no matter
    assert open_workspace(str(opened.issuer.issue())) is opened


def test_a_folder_deleted_and_made_anew_is_a_new_workspace(tmp_path: Path) -> None:
    create_workspace(tmp_path / "ws").records.experiments.create("gone")
    shutil.rmtree(tmp_path / "ws")

    again = create_workspace(tmp_path / "ws")

    assert again.records.experiments.find_by_name("gone") is None


def test_a_closed_workspace_opens_again(tmp_path: Path) -> None:
    opened = create_workspace(tmp_path)
    opened.close()

    again = open_folder(tmp_path)

    assert again is not opened
    assert again.records.experiments.get("0").name == "Default"


def test_a_folder_without_a_workspace_isnt_made_one(tmp_path: Path) -> None:
    for open_it in (lambda: open_folder(tmp_path), lambda: open_workspace(f"amlstore://{tmp_path}")):
        with pytest.raises(WorkspaceNotFound, match=r"Make one with `amlstore init .*`, or correct the path"):
            open_it()
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StorageFailed, match="could not be read or written"):
            create_workspace(folder)
        with pytest.raises(WorkspaceNotFound):
            open_folder(folder)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("name", ["a\0b", "x" * 256], ids=["NUL", "too long"])
def test_what_can_be_no_folder_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    for call in (create_workspace, open_folder):
        with pytest.raises(InvalidValue, match=r"workspace folder.*can't be a path"):
            call(tmp_path / name)


def test_a_disk_that_is_full_when_config_json_is_written_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", no_space)
        with pytest.raises(DiskFull):
            create_workspace(tmp_path / "ws")
    assert create_workspace(tmp_path / "ws").records.experiments.get("0").name == "Default"


def test_the_other_forms_of_tracking_uris_are_not_opened_yet() -> None:
    with pytest.raises(NotSupported, match=r"The scheme azureml:// is not supported .* Use an embedded workspace's"):
        open_workspace("azureml://host/mlflow/v2.0")
    with pytest.raises(TrackingUriInvalid):
        open_workspace("sqlite:///mlflow.db")
