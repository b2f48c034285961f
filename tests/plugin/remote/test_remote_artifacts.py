"""Files of a service through MLflow: as they are written, listed, read and deleted, and where they may not go."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from fork_server import run_forked
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore.plugin.remote_artifacts import RemoteArtifactRepository
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace
from mlflow_amlstore.workspace.tracking_uri import parse

NAMES = [
    "plain.txt",
    "with space",
    "timestamp%00d0bb",  # as `mlflow.log_image` may name an image
    "timestamp%5c7f",
    "ünïcödé",
    "per%20cent",
    "hash#mark",
    "what?",
    "semi;colon",
    "a&b=c",
    "plus+",
    "'q'",
    "a:b.txt",
    "T:0.5",
    "line\nfeed\n",
]
IMAGES = """
import mlflow, numpy
with mlflow.start_run() as run:
    for step in range(50):
        mlflow.log_image(numpy.zeros((8, 8, 3), numpy.uint8), key="dog", step=step)
print(run.info.run_id)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a large file, an empty one and names that a URL must quote."""
    folder = tmp_path / "tree"
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in NAMES:
        (folder / "sub" / name).write_text(name)
    (folder / "empty").touch()
    (folder / "sub" / "deep" / "large").write_bytes(os.urandom(40_000_001))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_comes_back_as_it_went(
    client: MlflowClient, experiment_id: str, run_id: str, tree: Path, tmp_path: Path, workspace: EmbeddedWorkspace
) -> None:
    client.log_artifacts(run_id, str(tree), "all")
    back = client.download_artifacts(run_id, "all", str(tmp_path))
    assert files_of(Path(back)) == files_of(tree)
    container = run_container(experiment_id, run_id)
    there = {file.path: file.size_bytes for file in workspace.records.files.list_all(container, "")}
    assert there == {f"all/{path}": len(content) for path, content in files_of(tree).items()}


@pytest.mark.parametrize("root", [".", "./", "sub/..", "/".join(["sub", "deep", "..", ".."])])
def test_dots_are_followed_below_the_root(
    client: MlflowClient, run_id: str, tree: Path, tmp_path: Path, root: str
) -> None:
    client.log_artifacts(run_id, str(tree / "sub" / "deep"), "sub/deep")
    client.log_text(run_id, "x", "sub/deep/../x.txt")
    assert [child.path for child in client.list_artifacts(run_id, "sub/./deep/..")] == ["sub/deep", "sub/x.txt"]
    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    assert [child.path.rpartition("/")[2] for child in repository.list_artifacts(root)] == ["sub"]
    (tmp_path / "back").mkdir()
    back = repository.download_artifacts(root, str(tmp_path / "back"))
    assert set(files_of(Path(back))) == {"sub/deep/large", "sub/x.txt"}
    for path in ("..", "sub/../../x", "sub/%2e%2e/x"):
        with pytest.raises(MlflowException, match="must not climb out"):
            repository.list_artifacts(path)


@pytest.mark.parametrize("path", ["d/../x.txt", "a/b/../../x.txt", "./x.txt", "d//x.txt", "d/./x.txt", "runs/d/x.txt"])
def test_a_file_is_read_by_the_path_that_it_was_written_by(client: MlflowClient, run_id: str, path: str) -> None:
    client.log_text(run_id, "text", path)
    uris = f"runs:/{run_id}/{path}", f"{client.get_run(run_id).info.artifact_uri}/{path}"
    assert [mlflow.artifacts.load_text(uri) for uri in uris] == ["text", "text"]
    assert Path(client.download_artifacts(run_id, path)).read_text() == "text"


@pytest.mark.needs("PIL")
def test_files_that_are_logged_in_the_background_are_there_when_the_process_has_ended(
    client: MlflowClient, service: ForkedService
) -> None:
    ended = run_forked(["-c", IMAGES], env=service.environment, check=True)
    run_id = ended.stdout.splitlines()[-1]
    assert len(client.list_artifacts(run_id, "images")) == 100
    assert ended.stderr.count("Traceback") == 0


def test_a_listing_has_the_children_with_their_real_sizes(client: MlflowClient, run_id: str, tree: Path) -> None:
    client.log_artifacts(run_id, str(tree), "all")
    client.log_text(run_id, "x", "allx/y.txt")

    def listed(path: str | None) -> list[tuple[str, bool, int | None]]:
        return [(child.path, child.is_dir, child.file_size) for child in client.list_artifacts(run_id, path)]

    assert listed(None) == [("all", True, None), ("allx", True, None)]
    assert listed("all") == [("all/empty", False, 0), ("all/sub", True, None)]
    assert listed("all/sub/deep/") == [("all/sub/deep/large", False, 40_000_001)]
    assert listed("all/empty") == listed("none") == []


def test_a_file_may_be_written_again_and_again(client: MlflowClient, run_id: str) -> None:
    for text in ("first", "second, and longer", "3"):
        client.log_text(run_id, text, "last.ckpt")
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/last.ckpt") == text


def test_many_files_go_and_come_at_once(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number:03}.txt").write_text(str(number))
    client.log_artifacts(run_id, str(folder))
    assert files_of(Path(client.download_artifacts(run_id, ""))) == files_of(folder)


def test_a_file_is_deleted_and_a_folder_with_all_that_is_in_it(client: MlflowClient, run_id: str) -> None:
    for path in ("a/1", "a/b/2", "c"):
        client.log_text(run_id, "x", path)
    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    repository.delete_artifacts("a/b")
    assert [child.path for child in repository.list_artifacts("a")] == ["a/1"]
    repository.delete_artifacts()
    assert repository.list_artifacts() == []


def test_what_isnt_there_is_said_so(client: MlflowClient, run_id: str) -> None:
    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    with pytest.raises(MlflowException, match="File 'none' not found"):
        repository.download_artifacts("none")


def test_all_files_of_a_run_come_by_its_artifact_uri(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    """MLflow makes a repository of `…/runs/RUN` for that, and asks it for `artifacts`."""
    client.log_text(run_id, "text", "folder/a.txt")
    uri = client.get_run(run_id).info.artifact_uri
    back = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    assert files_of(Path(back)) == {"folder/a.txt": b"text"}
    above = get_artifact_repository(uri.removesuffix("/artifacts"))
    with pytest.raises(MlflowException, match="Invalid value 'other' for artifact path: must begin with artifacts"):
        above.list_artifacts("other")


def test_a_repository_may_begin_below_the_runs_files(client: MlflowClient, run_id: str) -> None:
    client.log_text(run_id, "x", "a/b/c.txt")
    repository = get_artifact_repository(f"{client.get_run(run_id).info.artifact_uri}/a")
    assert [child.path for child in repository.list_artifacts("b")] == ["b/c.txt"]
    assert Path(repository.download_artifacts("b/c.txt")).read_text() == "x"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a\\..\\x", "%2e%2e/x", "file:x"])
def test_a_path_that_leaves_the_run_is_refused(client: MlflowClient, run_id: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "x").write_text("x")
    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    for call in (
        lambda: repository.log_artifact(str(tmp_path / "x"), path),
        lambda: repository.list_artifacts(path),
        lambda: repository._download_file(path, str(tmp_path / "y")),
        lambda: repository.delete_artifacts(path),
    ):
        with pytest.raises(MlflowException, match="must") as raised:
            call()
        assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
    assert repository.list_artifacts() == []


@pytest.mark.parametrize(
    "uri", ["azureml://host/x", "azureml+http://127.0.0.1:1/experiments/1/2", "azureml://experiments/1"]
)
def test_a_uri_that_names_no_files_is_refused(uri: str) -> None:
    with pytest.raises(MlflowException, match="must be azureml://HOST/…/experiments/…/runs/…/artifacts"):
        RemoteArtifactRepository(uri)


def test_a_deleted_run_takes_files(client: MlflowClient, run_id: str) -> None:
    client.delete_run(run_id)
    client.log_text(run_id, "x", "x.txt")
    assert [file.path for file in client.list_artifacts(run_id)] == ["x.txt"]


def test_a_refusal_has_the_code_that_an_embedded_workspace_gives(
    client: MlflowClient, run_id: str, workspace: EmbeddedWorkspace
) -> None:
    embedded = MlflowClient(workspace.root_uri, workspace.root_uri)
    for door in (client, embedded):
        door.log_text(run_id, "1", "a")
        with pytest.raises(MlflowException, match="a path is either a file or a folder") as refused:
            door.log_text(run_id, "2", "a/b")
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_repository_shows_no_token_and_takes_no_network_to_make(service: ForkedService) -> None:
    root = parse(service.tracking_uri).root
    repository = RemoteArtifactRepository(f"{root}/experiments/1/runs/2/artifacts", service.tracking_uri)
    assert parse(service.tracking_uri).token not in repr(repository) + str(vars(repository))


def test_memory_stays_small_however_large_the_file(
    service: ForkedService, client: MlflowClient, run_id: str, tmp_path: Path
) -> None:
    """In a process of its own, whose memory is measured before and after."""
    if sys.platform != "linux":
        pytest.skip("the peak is read as Linux tells it")
    with (tmp_path / "large").open("wb") as opened:
        opened.truncate(600_000_000)
    script = (
        "import resource, sys; from mlflow import MlflowClient\n"
        "client, (run_id, folder) = MlflowClient(), sys.argv[1:]\n"
        "client.log_text(run_id, 'x', 'warm.txt')\n"
        "client.download_artifacts(run_id, 'warm.txt')\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "client.log_artifact(run_id, folder + '/large')\n"
        "client.download_artifacts(run_id, 'large', folder + '/back')\n"
        "print(peak() - before)\n"
    )
    (tmp_path / "back").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, run_id, str(tmp_path)],
        env=service.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 100
    assert (tmp_path / "back" / "large").stat().st_size == 600_000_000
