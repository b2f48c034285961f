"""The files of runs and the snapshots of their source."""

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Experiment, Run, Workspace
from mlflow_amlstore.errors import (
    Changed,
    InvalidState,
    InvalidValue,
    LocalFileFailed,
    NotFound,
    PathUnsafe,
)

EACH_KIND = pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)


@EACH_KIND
class TestFiles:
    def test_files_are_uploaded_listed_and_downloaded(self, run: Run, tmp_path: Path) -> None:
        Path("model.pkl").write_bytes(b"model")
        Path("folder/sub").mkdir(parents=True)
        Path("folder/sub/é x.txt").write_text("deep")
        run.upload_file("outputs/model.pkl", "model.pkl")
        run.upload_file("stream.bin", io.BytesIO(b"stream"))
        run.upload_files(["a", "b/c"], ["model.pkl", "folder/sub/é x.txt"])
        run.upload_folder("whole", "folder")
        assert run.get_file_names() == ["a", "b/c", "outputs/model.pkl", "stream.bin", "whole/sub/é x.txt"]

        run.download_file("outputs/model.pkl")
        run.download_file("stream.bin", tmp_path)
        run.download_file("b/c", "new/folder/name.txt")
        assert (Path("model.pkl").read_bytes(), (tmp_path / "stream.bin").read_bytes()) == (b"model", b"stream")
        assert Path("new/folder/name.txt").read_text() == "deep"

        run.download_files("whole", output_directory="down")
        run.download_files("whole", output_directory="without", append_prefix=False)
        run.download_files("whole/sub/é x.txt", output_directory="single", append_prefix=False)
        run.download_files("b", output_paths=["c.txt"], output_directory="named")
        run.download_files(output_directory="all")
        assert Path("down/whole/sub/é x.txt").read_text() == "deep"
        assert Path("without/sub/é x.txt").read_text() == "deep"
        assert Path("single/é x.txt").read_text() == "deep"
        assert Path("named/c.txt").read_text() == "deep"
        assert sum(file.is_file() for file in Path("all").rglob("*")) == 5

    def test_a_folder_is_uploaded_as_a_file_is(self, run: Run) -> None:
        Path("folder/sub").mkdir(parents=True)
        Path("folder/sub/a.txt").write_text("a")
        run.upload_file("outputs/folder", "folder")
        assert run.get_file_names() == ["outputs/folder/sub/a.txt"]

    def test_a_name_is_in_normal_form_wherever_it_is_given(self, run: Run) -> None:
        told = run.upload_file("d/../deep//x.txt", io.BytesIO(b"text"))
        assert [each["path"] for each in told.artifacts.values()] == run.get_file_names() == ["deep/x.txt"]
        run.download_file("d/../deep/x.txt", "single.txt")
        run.download_files("d/../deep", output_directory="down", append_prefix=False)
        assert (Path("single.txt").read_text(), Path("down/x.txt").read_text()) == ("text", "text")
        assert run.register_model("m", "d/../deep").url.endswith("/artifacts/deep")

    @pytest.mark.parametrize(
        ("call", "given", "error", "problem"),
        [
            ("upload_file", ("a", "not/there"), InvalidValue, "'not/there' for file 'a': is not a file"),
            (
                "upload_file",
                ("a", io.StringIO("text")),
                InvalidValue,
                "'StringIO' for file 'a': must be a path or a stream",
            ),
            ("upload_file", ("a", 7), InvalidValue, "'int' for file 'a': must be a path or a stream of bytes"),
            ("upload_file", ("../a", "there"), PathUnsafe, "must not climb out"),
            ("upload_files", (["a"], ["there", "there"]), InvalidValue, "must be as many as paths"),
            ("upload_files", (["a", "b"], ["there", "not"]), InvalidValue, "'not' for file 'b'"),
            ("upload_folder", ("a", "there"), InvalidValue, "'there' for folder 'a': is not a folder"),
            ("download_file", ("never",), NotFound, "'never' not found"),
            ("download_files", ("never",), NotFound, "'never' not found"),
        ],
    )
    def test_what_isnt_there_or_isnt_safe_is_refused_and_leaves_nothing(
        self, run: Run, call: str, given: Any, error: type[Exception], problem: str
    ) -> None:
        Path("there").write_text("x")
        with pytest.raises(error, match=problem):
            getattr(run, call)(*given)
        assert run.get_file_names() == []
        assert [path.name for path in Path().iterdir() if path.is_file()] == ["there"]

    @pytest.mark.parametrize(
        ("target", "problem"),
        [("there/x", "^there on this machine .* it is no folder"), ("folder", "^folder/a on .* it is a folder")],
    )
    def test_what_is_in_the_way_of_a_download_is_named(self, run: Run, target: str, problem: str) -> None:
        Path("there").write_text("x")
        Path("folder/a").mkdir(parents=True)
        run.upload_file("a", "there")
        with pytest.raises(LocalFileFailed, match=f"{problem}.*Move it away, or give another path"):
            run.download_file("a", target)
        assert Path("there").read_text() == "x"
        assert list(Path("folder/a").iterdir()) == []

    def test_logs_are_told_apart_read_and_downloaded(self, run: Run) -> None:
        run.upload_file("user_logs/std_log.txt", io.BytesIO("line é\n".encode()))
        run.upload_file("other.txt", io.BytesIO(b"no log"))
        assert list(run.get_details()["logFiles"]) == ["user_logs/std_log.txt"]
        assert run.get_details_with_logs()["logFiles"] == {"user_logs/std_log.txt": "line é\n"}
        [path] = run.get_all_logs("logs")
        assert Path(path).read_text(encoding="utf-8") == "line é\n"


@EACH_KIND
class TestSnapshots:
    @pytest.fixture(autouse=True)
    def source(self, ws: Workspace) -> None:
        for path in (
            "train.py",
            "sub/util.py",
            "data/big.csv",
            "sub/data/kept.csv",
            ".git/config",
            "__pycache__/x.pyc",
        ):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(path)

    def _names(self, run: Run) -> list[str]:
        with zipfile.ZipFile(run.restore_snapshot(path="../restored")) as archive:
            return sorted(archive.namelist())

    def test_starting_a_run_snapshots_the_current_folder(self, experiment: Experiment) -> None:
        Path(".gitignore").write_text("/data\n")
        run = experiment.start_logging()
        assert self._names(run) == [".gitignore", "sub/data/kept.csv", "sub/util.py", "train.py"]
        assert run.get_snapshot_id() == run.get_properties()["ContentSnapshotId"]

    def test_amlignore_is_asked_first(self, experiment: Experiment) -> None:
        Path(".gitignore").write_text("*.py\n")
        Path(".amlignore").write_text("data/\n.*ignore\n!sub/data/\n")
        assert self._names(experiment.start_logging()) == ["sub/data/kept.csv", "sub/util.py", "train.py"]

    def test_an_embedded_workspace_in_the_folder_is_left_out(self) -> None:
        for folder in (".", "inner"):
            workspace = Workspace.create(folder)
            run = Experiment(workspace, "e").start_logging(snapshot_directory=".")
            with zipfile.ZipFile(run.restore_snapshot(path="restored")) as archive:
                names = archive.namelist()
            assert "train.py" in names
            assert not [name for name in names if "records.db" in name or name.startswith(("files/", "inner/"))]

    def test_environments_and_git_are_left_out_whatever_is_ignored_and_env_files_are_not(
        self, experiment: Experiment
    ) -> None:
        for path in (".venv/lib/a.py", "venv/pyvenv.cfg", "venv/lib/a.py", "sub/env/pyvenv.cfg", "sub/.git", "venv2/b"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("x")
        Path(".env").write_text("TOKEN=secret")
        Path(".amlignore").write_text("data/\n.amlignore\n")
        assert self._names(experiment.start_logging()) == [".env", "sub/util.py", "train.py", "venv2/b"]
        with Path(".amlignore").open("a") as ignored:
            ignored.write(".env\n")
        assert ".env" not in self._names(experiment.start_logging())

    def test_a_link_is_kept_as_its_file_and_one_that_leads_out_is_not(
        self, experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/secret").write_text("secret")
        Path(".amlignore").write_text("data/\n.amlignore\n")
        Path("inside.py").symlink_to("sub/util.py")
        Path("outside").symlink_to(tmp_path / "outside")
        Path("sub/secret").symlink_to(tmp_path / "outside/secret")
        Path("nowhere").symlink_to("never")
        run = experiment.start_logging()
        assert self._names(run) == ["inside.py", "sub/util.py", "train.py"]
        with zipfile.ZipFile(f"../restored/{run.get_snapshot_id()}.zip") as archive:
            assert archive.read("inside.py") == b"sub/util.py"
        assert "leaves out what can't be kept: 'sub/secret'" in caplog.text

    def test_one_can_be_taken_once_of_a_file_or_folder(self, experiment: Experiment) -> None:
        run = experiment.start_logging(snapshot_directory=None)
        with pytest.raises(InvalidState, match="has no snapshot"):
            run.restore_snapshot()
        snapshot_id = run.take_snapshot("train.py")
        assert self._names(run) == ["train.py"]
        assert snapshot_id == run.get_snapshot_id()
        with pytest.raises(Changed):
            run.take_snapshot("sub")
        with pytest.raises(InvalidValue, match="'never' for snapshot: is neither a file nor a folder"):
            run.take_snapshot("never")

    def test_a_folder_that_is_too_large_is_no_obstacle_to_starting_but_to_taking_one(
        self, experiment: Experiment, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Path("huge.bin").open("wb") as sparse:
            sparse.truncate(301_000_000)
        run = experiment.start_logging()
        assert run.get_snapshot_id() is None
        assert "300 MB is the limit" in caplog.text
        with pytest.raises(InvalidValue, match="300 MB is the limit"):
            run.take_snapshot(".")

    def test_what_cannot_be_kept_is_left_out_with_a_warning(
        self, experiment: Experiment, caplog: pytest.LogCaptureFixture
    ) -> None:
        Path("train.py").write_text("pass")
        Path("back\\slash.py").write_text("pass")
        shutil.rmtree("sub")
        shutil.rmtree("data")
        Path(".gitignore").write_bytes(b"*.tmp\n# caf\xe9\n")
        Path("left.tmp").write_text("out")
        run = experiment.start_logging()
        with zipfile.ZipFile(run.restore_snapshot(path="restored")) as archive:
            assert set(archive.namelist()) == {"train.py", ".gitignore"}
        assert "leaves out what can't be kept: 'back" in caplog.text

    def test_an_empty_folder_is_no_snapshot(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        run = experiment.start_logging()
        assert run.get_snapshot_id() is None
        with pytest.raises(InvalidValue, match="has no files to keep"):
            run.take_snapshot(".")

    @pytest.mark.alone
    def test_a_folder_that_is_not_there_is_an_error(self, experiment: Experiment) -> None:
        with pytest.raises(InvalidValue, match="'never' for snapshot_directory"):
            experiment.start_logging(snapshot_directory="never")
        assert list(experiment.get_runs()) == []


@pytest.mark.parametrize("ws", ["embedded", "served"], indirect=True)
def test_an_upload_tells_where_the_files_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for path in ("a.txt", "deep/b.txt"):
        (tmp_path / "folder" / path).write_text(path)

    told = run.upload_file("outputs/folder", str(tmp_path / "folder")).serialize()

    assert sorted(told["artifacts"]) == ["outputs/folder/a.txt", "outputs/folder/deep/b.txt"]
    assert told["artifacts"]["outputs/folder/a.txt"] == {
        "artifactId": f"ExperimentRun/dcid.{run.id}/outputs/folder/a.txt",
        "origin": "ExperimentRun",
        "container": f"dcid.{run.id}",
        "path": "outputs/folder/a.txt",
    }
    assert "sig=" not in str(told)
