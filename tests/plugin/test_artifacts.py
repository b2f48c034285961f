"""MLflow's artifact calls on a workspace: what is legal works, what leads outside is refused, on the way in and out."""

import os
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore.core import Model, Workspace
from mlflow_amlstore.plugin.artifacts import WorkspaceArtifactRepository

LEADING_OUTSIDE = [
    "..",
    "../x",
    "a/../../x",
    "/etc",
    "%2e%2e/x",
    "%252e%252e/x",
    "%25252e%25252e/x",
    "a%2f..%2f..%2fx",
    "%2fetc",
    "..%5cx",
    "a\\..\\x",
    "a\0b",
    "file:///etc",
    "file:/etc",
    "file://host/etc",
    "file:etc",
    "..;/x",
    "..?x",
    "..#x",
]
LEGAL_NAMES = [
    "model.pkl",
    "epoch=0-step=151.ckpt",
    "with space",
    "ünïcödé 日本語",
    "50%",
    "50%zz",
    "timestamp%00d0bb",  # as `mlflow.log_image` may name an image
    "timestamp%5c7f",
    "a;b&c=d",
    "x" * 255,
    ".hidden",
    "a..b",
]
# MLflow reads `runs:/…` and `download_artifacts(run_id, path)` as URIs, and these characters begin a query or fragment.
LEGAL_NAMES_THAT_MLFLOW_CUTS_IN_URIS = ["a#b", "a?b"]


@pytest.fixture
def run_id(amlstore_workspace: Workspace) -> str:
    return str(MlflowClient().create_run("0").info.run_id)


@pytest.fixture
def repository(run_id: str) -> WorkspaceArtifactRepository:
    """The files of a run."""
    found = get_artifact_repository(MlflowClient().get_run(run_id).info.artifact_uri)
    assert isinstance(found, WorkspaceArtifactRepository)
    return found


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def _all_files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but a database, which reading may touch."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("records.db")]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("path", LEADING_OUTSIDE)
def test_a_path_that_leads_outside_is_refused_by_every_call_and_nothing_is_touched(
    run_id: str, repository: WorkspaceArtifactRepository, tmp_path: Path, local: Path, path: str
) -> None:
    client = MlflowClient()
    (local / "file").write_text("text")
    client.log_text(run_id, "kept", "kept.txt")
    before = _all_files(tmp_path)

    for call in (
        lambda: client.log_artifact(run_id, local / "file", path),
        lambda: client.log_artifacts(run_id, local, path),
        lambda: client.log_text(run_id, "text", f"{path}/file.txt"),
        lambda: client.list_artifacts(run_id, path),
        lambda: client.download_artifacts(run_id, path, str(local)),
        lambda: mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{path}", dst_path=str(local)),
        lambda: repository.list_artifacts(path),
        lambda: repository.download_artifacts(path, str(local)),
        lambda: repository.delete_artifacts(path),
    ):
        with pytest.raises((MlflowException, ValueError)):  # ValueError: Python's own, for a local file with a NUL
            call()

    for call in (lambda: repository.log_artifact(local / "file", path), lambda: repository.list_artifacts(path),
                 lambda: repository.delete_artifacts(path)):  # fmt: skip
        with pytest.raises(MlflowException, match="for artifact path: must ") as refused:
            call()
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert _all_files(tmp_path) == before


@pytest.mark.parametrize("tail", ["/..", "/../..", "/%2e%2e/x", "/../../../config.json", "/a/%252e%252e/b", "/..;/x"])
def test_an_artifact_uri_that_leads_outside_is_refused(run_id: str, tail: str) -> None:
    uri = MlflowClient().get_run(run_id).info.artifact_uri + tail

    with pytest.raises(MlflowException, match=r"must not climb out with '\.\.'") as refused:
        get_artifact_repository(uri)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("name", LEGAL_NAMES)
def test_a_legal_name_goes_in_is_listed_and_comes_out(run_id: str, local: Path, name: str) -> None:
    client = MlflowClient()
    (local / name).write_text(name)

    client.log_artifact(run_id, local / name, f"folder/{name}")

    (listed,) = client.list_artifacts(run_id, f"folder/{name}")
    assert (listed.path, listed.is_dir, listed.file_size) == (f"folder/{name}/{name}", False, len(name.encode()))
    downloaded = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/folder/{name}/{name}")
    assert (Path(downloaded).name, Path(downloaded).read_text()) == (name, name)
    whole_folder = Path(client.download_artifacts(run_id, "folder"))
    assert (whole_folder / name / name).read_text() == name


@pytest.mark.parametrize("path", ["d/../x.txt", "a/b/../../x.txt", "./x.txt", "d//x.txt", "d/./x.txt", "runs/d/x.txt"])
def test_a_file_is_read_by_the_path_that_it_was_written_by(run_id: str, path: str) -> None:
    client = MlflowClient()
    client.log_text(run_id, "text", path)
    uris = f"runs:/{run_id}/{path}", f"{client.get_run(run_id).info.artifact_uri}/{path}"
    assert [mlflow.artifacts.load_text(uri) for uri in uris] == ["text", "text"]
    assert Path(client.download_artifacts(run_id, path)).read_text() == "text"


@pytest.mark.parametrize("name", LEGAL_NAMES_THAT_MLFLOW_CUTS_IN_URIS)
def test_a_name_that_mlflow_cuts_in_uris_comes_out_with_its_folder_or_by_its_path(
    run_id: str, repository: WorkspaceArtifactRepository, local: Path, name: str
) -> None:
    client = MlflowClient()
    (local / name).write_text(name)

    client.log_artifact(run_id, local / name, "folder")

    assert [file.path for file in client.list_artifacts(run_id, "folder")] == [f"folder/{name}"]
    assert (Path(client.download_artifacts(run_id, "folder")) / name).read_text() == name
    assert Path(repository.download_artifacts(f"folder/{name}")).read_text() == name


def test_paths_may_be_path_objects(repository: WorkspaceArtifactRepository, local: Path) -> None:
    (local / "a").mkdir()
    (local / "a/file").write_text("text")

    repository.log_artifact(local / "a/file", Path("one/two"))
    repository.log_artifacts(local, Path("three"))

    assert [file.path for file in repository.list_artifacts(Path("one/two"))] == ["one/two/file"]
    assert [file.path for file in repository.list_artifacts(Path("three/a"))] == ["three/a/file"]
    repository.delete_artifacts(Path("one"))
    assert [file.path for file in repository.list_artifacts()] == ["three"]


def test_a_folder_of_500_files_goes_up_and_comes_down_whole(run_id: str, local: Path) -> None:
    for number in range(500):
        (local / f"{number % 10}").mkdir(exist_ok=True)
        (local / f"{number % 10}/{number}.txt").write_text(str(number))

    mlflow.log_artifacts(str(local), "many", run_id=run_id)

    listed = mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="many")
    assert [(folder.path, folder.is_dir) for folder in listed] == [(f"many/{digit}", True) for digit in range(10)]
    downloaded = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="many"))
    assert {path.name: path.read_text() for path in downloaded.rglob("*.txt")} == {
        f"{number}.txt": str(number) for number in range(500)
    }


def test_an_empty_file_and_an_empty_folder(run_id: str, local: Path) -> None:
    client = MlflowClient()
    (local / "empty").touch()
    client.log_artifact(run_id, local / "empty")
    (local / "folder").mkdir()

    client.log_artifacts(run_id, local / "folder", "nothing")

    assert [(file.path, file.file_size) for file in client.list_artifacts(run_id)] == [("empty", 0)]
    assert Path(client.download_artifacts(run_id, "empty")).read_bytes() == b""


def test_what_isnt_there_is_not_found(run_id: str, repository: WorkspaceArtifactRepository, local: Path) -> None:
    client = MlflowClient()
    with pytest.raises(FileNotFoundError, match="missing"):
        client.log_artifact(run_id, local / "missing")
    with pytest.raises(MlflowException, match="for local_dir: must be a folder that exists") as refused:
        repository.log_artifacts(local / "missing")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException, match="File 'missing' not found") as not_found:
        repository._download_file("missing", str(local / "target"))
    assert not_found.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException) as not_found:
        client.download_artifacts(run_id, "missing")
    if hasattr(mlflow.entities, "LoggedModel"):  # MLflow 2 makes INTERNAL_ERROR of whatever a download raises
        assert not_found.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert list(local.iterdir()) == []


def test_a_file_name_that_is_no_unicode_is_refused_by_name(run_id: str, local: Path) -> None:
    file = os.fsencode(local) + b"/caf\xe9.txt"
    try:
        with open(file, "wb") as made:  # noqa: PTH123  # pathlib takes no bytes
            made.write(b"text")
    except OSError:
        pytest.skip("this disk takes only names that are Unicode")

    with pytest.raises(MlflowException, match=r"Invalid value 'caf.*txt' for artifact path: must be valid Unicode"):
        MlflowClient().log_artifact(run_id, os.fsdecode(file))
    assert MlflowClient().list_artifacts(run_id) == []


def test_the_artifact_uri_of_a_run_and_of_a_file_are_listed_and_downloaded(run_id: str) -> None:
    client = MlflowClient()
    client.log_text(run_id, "text", "folder/file.txt")
    uri = client.get_run(run_id).info.artifact_uri

    assert [file.path for file in mlflow.artifacts.list_artifacts(f"{uri}/folder")] == ["folder/file.txt"]
    assert [file.path for file in mlflow.artifacts.list_artifacts(uri)] == ["artifacts/folder"]
    assert mlflow.artifacts.load_text(f"{uri}/folder/file.txt") == "text"
    assert (Path(mlflow.artifacts.download_artifacts(uri)) / "folder/file.txt").read_text() == "text"


def _planted_link(workspace: Path, outside: Path) -> None:
    """Make every folder of contents a link to a folder outside, which has the same contents."""
    for folder in [path for path in (workspace / "files").iterdir() if path.name != "incoming"]:
        folder.rename(outside / folder.name)
        folder.symlink_to(outside / folder.name)


@pytest.mark.skipif(os.name != "posix", reason="making symbolic links needs rights here")
@pytest.mark.parametrize("of", ["run", "logged model"])
def test_links_that_lead_out_of_the_workspace_are_followed_by_no_call(
    amlstore_workspace: Workspace, run_id: str, tmp_path: Path, local: Path, of: str
) -> None:
    client = MlflowClient()
    if of == "run":
        uri = client.get_run(run_id).info.artifact_uri
    elif hasattr(client, "create_logged_model"):
        uri = client.create_logged_model("0").artifact_location
    else:
        pytest.skip("MLflow 2 has no logged models")
    repository = get_artifact_repository(uri)
    (local / "file").write_text("text")
    repository.log_artifact(local / "file")
    (tmp_path / "outside").mkdir()
    _planted_link(amlstore_workspace.path, tmp_path / "outside")
    before = _all_files(tmp_path / "outside")

    for call in (
        lambda: repository.log_artifact(local / "file", "again"),
        lambda: repository.download_artifacts("file", str(tmp_path)),
        lambda: repository.delete_artifacts("file"),
    ):
        with pytest.raises(MlflowException, match="is a symbolic link, which could lead out of the workspace"):
            call()
    assert _all_files(tmp_path / "outside") == before
    assert [file.path for file in repository.list_artifacts()] == ["file"]


LOCAL = [
    "{secret}",
    "file:{secret}",
    "file://{secret}",
    "file://localhost{secret}",
    "file://{secret}?x#y",
    "{relative}",
]
LEADING_OUTSIDE_SOURCES = [
    "FILE://{secret}",
    "file://{secret};x",
    "http://127.0.0.1{secret}",
    "s3://bucket/../..{secret}",
    "s3://bucket/%2e%2e/%2e%2e{secret}",
    "s3://bucket/%25252e%25252e{secret}",
    "amlstore://{folder}/other/0/abc/artifacts/model",
    "amlstore://{folder}/workspace/../secret",
    "amlstore://{folder}/workspace/0/abc/artifacts/../../../../secret",
    "amlstore://{folder}/workspace/0/abc/artifacts/%2e%2e/secret",
    "amlstore:{folder}/workspace/0/abc/artifacts/..",
    "workspace:/0/abc/artifacts/../../../..{secret}",
    "workspace:/{secret}",
    "runs:/abc/../../x",
    "models:/m-abc/../../x",
]


def _filled_in(template: str, secret: Path) -> str:
    return template.format(secret=secret, folder=secret.parent, relative=os.path.relpath(secret))


@pytest.mark.parametrize("template", LEADING_OUTSIDE_SOURCES)
def test_a_model_source_that_leads_outside_is_refused(
    amlstore_workspace: Workspace, tmp_path: Path, template: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    Workspace.create(tmp_path / "other")
    assert amlstore_workspace.path == tmp_path / "workspace"
    client = MlflowClient()
    client.create_registered_model("model")
    source = _filled_in(template, tmp_path / "secret")

    with pytest.raises(MlflowException) as refused:
        client.create_model_version("model", source)
    assert refused.value.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    with pytest.raises(MlflowException):
        mlflow.register_model(source, "model")
    assert client.search_model_versions("name = 'model'") == []


@pytest.mark.parametrize(
    "template",
    [*(source for source in LEADING_OUTSIDE_SOURCES if "file:" not in source), "amlstore://{folder}/workspace"],
)
def test_an_experiments_artifact_location_that_leads_outside_is_refused(
    amlstore_workspace: Workspace, tmp_path: Path, template: str
) -> None:
    with pytest.raises(MlflowException) as refused:
        MlflowClient().create_experiment("elsewhere", artifact_location=_filled_in(template, tmp_path / "secret"))

    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert set(amlstore_workspace.experiments) == {"Default"}


@pytest.mark.parametrize("template", LOCAL)
def test_a_model_source_on_this_machine_is_copied_into_the_workspace(
    amlstore_workspace: Workspace, tmp_path: Path, template: str
) -> None:
    (tmp_path / "secret").write_text("mine")
    version = mlflow.register_model(_filled_in(template, tmp_path / "secret"), "model")
    (tmp_path / "secret").unlink()
    assert version.source.startswith(amlstore_workspace.get_mlflow_tracking_uri().partition("?")[0])
    assert Path(Model(amlstore_workspace, "model").download(tmp_path / "back")).read_text() == "mine"


def test_a_folder_on_this_machine_becomes_a_model(amlstore_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "tree" / "data").mkdir(parents=True)
    (tmp_path / "tree" / "MLmodel").write_text("flavors: {}")
    (tmp_path / "tree" / "data" / "weights").write_bytes(b"weights")
    mlflow.register_model((tmp_path / "tree").as_uri(), "model")
    back = Path(mlflow.artifacts.download_artifacts("models:/model/1"))
    assert (back / "data" / "weights").read_bytes() == b"weights"


@pytest.mark.parametrize("template", LOCAL)
def test_an_mlflow_server_copies_nothing_of_its_machine(
    amlstore_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    MlflowClient().create_registered_model("model")
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", amlstore_workspace.get_mlflow_tracking_uri())  # as it sets it
    with pytest.raises(MlflowException, match="log the model to a run first") as refused:
        MlflowClient().create_model_version("model", _filled_in(template, tmp_path / "secret"))
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("source", ["file:///not/there", "file:{folder}/empty", "/"])
def test_a_local_source_that_has_no_files_is_refused(
    amlstore_workspace: Workspace, tmp_path: Path, source: str
) -> None:
    (tmp_path / "empty").mkdir()
    MlflowClient().create_registered_model("model")
    with pytest.raises(MlflowException, match=r"for model source: (must be|is) a f"):
        MlflowClient().create_model_version("model", source.format(folder=tmp_path))


@pytest.mark.parametrize("template", LOCAL)
def test_an_artifact_location_on_this_machine_means_the_workspace_and_is_warned_of(
    amlstore_workspace: Workspace, tmp_path: Path, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    location = _filled_in(template, tmp_path / "mlruns")
    experiment_id = MlflowClient().create_experiment("local", artifact_location=location)
    assert MlflowClient().get_experiment(experiment_id).artifact_location.startswith("amlstore:///")
    assert [record.message for record in caplog.records if location in record.message] == [
        f"The artifact location {location} is of this machine: the experiment's files go into the workspace"
    ]
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.skipif(os.name != "posix", reason="making symbolic links needs rights here")
def test_what_is_no_file_is_told_and_left_out(run_id: str, local: Path, caplog: pytest.LogCaptureFixture) -> None:
    (local / "real").mkdir()
    (local / "real" / "a").write_text("a")
    (local / "to-file").symlink_to(local / "real" / "a")
    (local / "to-folder").symlink_to(local / "real")
    (local / "to-nothing").symlink_to(local / "nothing")
    os.mkfifo(local / "pipe")
    MlflowClient().log_artifacts(run_id, str(local))

    told = {Path(record.getMessage().rpartition(": ")[2]).name for record in caplog.records}
    assert told == {"pipe", "to-folder", "to-nothing"}
    logged = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="")
    assert sorted(path.relative_to(logged).as_posix() for path in Path(logged).rglob("*") if path.is_file()) == [
        "real/a",
        "to-file",
    ]
