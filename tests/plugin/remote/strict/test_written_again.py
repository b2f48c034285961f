"""Files that training code writes again, where a workspace writes a file of a run once: the latest is read."""

import time
from collections.abc import Iterable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.files import later_versions, remote_files
from mlflow_amlstore.client.files.azureml_uri import parse_artifact_uri
from mlflow_amlstore.client.files.later_versions import Version, path_of, version_of
from mlflow_amlstore.client.files.remote_files import files_of

from .conftest import OtherProcess


def read(client: MlflowClient, run_id: str, path: str, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run_id, path, str(folder))).read_text()


@pytest.mark.parametrize(
    ("path", "second"),
    [
        ("last.ckpt", "last.amlstore-2.ckpt"),
        ("a/b.tar.gz", "a/b.tar.amlstore-2.gz"),
        ("a.d/README", "a.d/README.amlstore-2"),
        (".hidden", ".hidden.amlstore-2"),
        ("x/é ü.png", "x/é ü.amlstore-2.png"),
    ],
)
def test_a_later_version_has_a_name_of_its_own_with_the_same_ending(path: str, second: str) -> None:
    assert path_of(Version(path, 2)) == second
    assert version_of(second) == Version(path, 2)
    assert version_of(path) == Version(path, 1)


def test_the_latest_is_read_under_the_files_own_name(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    local = tmp_path / "last.ckpt"
    for number in range(4):
        local.write_text(f"epoch {number}")
        client.log_artifact(run_id, str(local), "checkpoints")
    assert read(client, run_id, "checkpoints/last.ckpt", tmp_path / "one") == "epoch 3"
    assert [(f.path, f.file_size) for f in client.list_artifacts(run_id, "checkpoints")] == [
        ("checkpoints/last.ckpt", len("epoch 3"))
    ]
    folder = Path(client.download_artifacts(run_id, "checkpoints", str(tmp_path)))
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"last.ckpt": "epoch 3"}


def test_a_tag_tells_others(client: MlflowClient, run_id: str) -> None:
    client.log_text(run_id, "1", "notes.txt")
    assert "amlstore_written_again" not in client.get_run(run_id).data.tags
    client.log_text(run_id, "2", "notes.txt")
    assert "NAME.amlstore-2.END" in client.get_run(run_id).data.tags["amlstore_written_again"]


def test_a_users_own_file_of_such_a_name_is_itself(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    client.log_text(run_id, "mine", "a.amlstore-2.txt")
    assert [file.path for file in client.list_artifacts(run_id)] == ["a.amlstore-2.txt"]
    assert read(client, run_id, "a.amlstore-2.txt", tmp_path) == "mine"
    with pytest.raises(MlflowException, match=r"a\.txt"):
        client.download_artifacts(run_id, "a.txt", str(tmp_path))


@pytest.mark.parametrize("own_first", [True, False])
def test_a_users_own_file_of_such_a_name_is_beside_the_other(
    client: MlflowClient, run_id: str, tmp_path: Path, own_first: bool
) -> None:
    texts = {"a.amlstore-2.txt": "own", "a.txt": "plain"}
    for path in sorted(texts, reverse=not own_first):
        client.log_text(run_id, texts[path], path)
    forget()
    assert [file.path for file in client.list_artifacts(run_id)] == sorted(texts)
    assert {path: read(client, run_id, path, tmp_path) for path in texts} == texts
    client.log_text(run_id, "own again", "a.amlstore-2.txt")
    client.log_text(run_id, "plain again", "a.txt")
    forget()
    assert [file.path for file in client.list_artifacts(run_id)] == sorted(texts)
    assert {path: read(client, run_id, path, tmp_path) for path in texts} == {
        path: f"{text} again" for path, text in texts.items()
    }


@pytest.mark.parametrize("is_full", [False, True], ids=["room for a tag", "no room for a tag"])
@pytest.mark.parametrize("fates", ["killed kept", "kept killed kept", "killed killed kept", "kept killed killed kept"])
def test_versions_whose_content_never_came_hide_nothing(
    client: MlflowClient, run_id: str, tmp_path: Path, fates: str, is_full: bool
) -> None:
    if is_full:
        there = len(client.get_run(run_id).data.tags)
        client.log_batch(run_id, tags=[RunTag(f"t{n}", "x") for n in range(50 - there)])
    for number, fate in enumerate(fates.split()):
        forget()
        files = files_of(connection_of(client.tracking_uri), parse_artifact_uri(uri_of(client, run_id)).artifact_root)
        if fate == "killed":
            files._contents_to_write(["last.ckpt"])  # and the content is never sent
        else:
            client.log_text(run_id, str(number), "last.ckpt")
    forget()
    assert read(client, run_id, "last.ckpt", tmp_path) == str(number)
    assert [file.path for file in client.list_artifacts(run_id)] == ["last.ckpt"]


def forget() -> None:
    """Know no more of what was written than another process does."""
    remote_files._files.clear()


def uri_of(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.artifact_uri)


def test_a_users_own_file_in_our_folder_is_listed(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    client.log_param(run_id, "long", "x" * 2000)
    assert client.list_artifacts(run_id) == []
    client.log_text(run_id, "mine", ".amlstore/notes.txt")
    assert [file.path for file in client.list_artifacts(run_id)] == [".amlstore"]
    assert [file.path for file in client.list_artifacts(run_id, ".amlstore")] == [".amlstore/notes.txt"]
    folder = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    assert [file.relative_to(folder).as_posix() for file in folder.rglob("*.*") if file.is_file()] == [
        ".amlstore/notes.txt"
    ]


def test_a_folder_of_which_some_files_are_new(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for number in range(3):
        (folder / f"new {number}").write_text("n")
        (folder / "same").write_text(str(number))
        client.log_artifacts(run_id, str(folder))
    assert sorted(f.path for f in client.list_artifacts(run_id)) == ["new 0", "new 1", "new 2", "same"]
    assert read(client, run_id, "same", tmp_path / "down") == "2"


def test_figures_dicts_and_tables_can_be_logged_again(client: MlflowClient, run_id: str) -> None:
    for number in range(3):
        client.log_dict(run_id, {"n": number}, "metrics.json")
        client.log_table(run_id, {"n": [number]}, "table.json")
    uri = client.get_run(run_id).info.artifact_uri
    assert mlflow.artifacts.load_dict(f"{uri}/metrics.json") == {"n": 2}
    assert mlflow.artifacts.load_dict(f"{uri}/table.json")["data"] == [[0], [1], [2]]  # MLflow reads, appends, writes


def test_another_process_goes_on_from_there(
    client: MlflowClient, run_id: str, tmp_path: Path, other_process: OtherProcess
) -> None:
    client.log_text(run_id, "1", "last.txt")
    for text in ("2", "3"):
        other_process("client.log_text(run_id, sys.argv[2], 'last.txt')", run_id, text)
    assert read(client, run_id, "last.txt", tmp_path / "one") == "3"
    client.log_text(run_id, "4", "last.txt")
    assert read(client, run_id, "last.txt", tmp_path / "two") == "4"


def test_a_large_file_too(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    local = tmp_path / "large.bin"
    for letter in (b"a", b"b"):
        local.write_bytes(letter * (20 * 1024 * 1024))
        client.log_artifact(run_id, str(local))
    found = Path(client.download_artifacts(run_id, "large.bin", str(tmp_path)))
    assert found.read_bytes() == b"b" * (20 * 1024 * 1024)


def test_what_another_process_writes_again_is_seen(
    client: MlflowClient,
    run_id: str,
    tmp_path: Path,
    other_process: OtherProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert later_versions._LISTING_HOLDS_S == 10
    monkeypatch.setattr(later_versions, "_LISTING_HOLDS_S", 1.0)
    for text in ("1", "2"):
        client.log_text(run_id, text, "last.txt")
    time.sleep(1.1)  # for as long as a listing is taken to hold
    other_process("client.log_text(run_id, '3', 'last.txt')", run_id)
    assert mlflow.artifacts.load_text(f"{client.get_run(run_id).info.artifact_uri}/last.txt") == "3"


@pytest.mark.parametrize("paths", [("u/x", "u"), ("u/x/y", "u"), ("u", "u/x")])
def test_a_path_that_is_a_folder_is_no_file_however_often_it_is_tried(
    client: MlflowClient, run_id: str, tmp_path: Path, paths: tuple[str, str]
) -> None:
    there, refused = paths
    client.log_text(run_id, "there", there)
    for _ in range(3):
        with pytest.raises(MlflowException, match=f"'{there}' exists, and a path is either a file or a folder"):
            client.log_text(run_id, "refused", refused)
    forget()
    with pytest.raises(MlflowException, match="a path is either a file or a folder"):
        client.log_text(run_id, "refused", refused)
    assert read(client, run_id, there, tmp_path / "down") == "there"
    assert "amlstore_written_again" not in client.get_run(run_id).data.tags


def test_a_version_whose_content_never_came_hides_no_other(
    client: MlflowClient, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.log_text(run_id, "whole", "x.txt")

    def breaks(uploads: Iterable[object], _: object) -> None:
        list(uploads)
        raise OSError("the network is gone")

    with monkeypatch.context() as broken:
        broken.setattr(remote_files, "upload_files", breaks)
        with pytest.raises(OSError, match="the network is gone"):
            client.log_text(run_id, "never", "x.txt")
    uri = f"{client.get_run(run_id).info.artifact_uri}/x.txt"
    assert mlflow.artifacts.load_text(uri) == "whole"
    client.log_text(run_id, "again", "x.txt")
    assert mlflow.artifacts.load_text(uri) == "again"
