"""Workspaces that are damaged, foreign or too new: one error that says what and what to do, and nothing changes."""

import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from fork_server import run_forked
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.diagnosis.embedded import examine_folder
from mlflow_amlstore.errors import AmlStoreError, SchemaTooNew, WorkspaceCorrupt, WorkspaceNotFound, WorkspaceReplaced
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

NOTE = "kept in the workspace"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """The folder of a closed workspace that holds a run with a thousand points and a file."""
    workspace = Workspace.create(tmp_path / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0", run_name="only").info.run_id
    client.log_batch(run_id, metrics=[mlflow.entities.Metric("m", step, step, step) for step in range(1000)])
    client.log_text(run_id, NOTE, "note.txt")
    workspace.close()
    return workspace.path


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refusal(open_it: Callable[[], object]) -> AmlStoreError:
    with pytest.raises(AmlStoreError) as refused:
        open_it()
    return refused.value


def _each_way_to_open(folder: Path) -> list[Callable[[], object]]:
    return [
        lambda: Workspace.from_config(folder),
        lambda: Workspace.create(folder),
        lambda: MlflowClient(f"amlstore://{folder}").search_experiments(),
        lambda: mlflow.artifacts.list_artifacts(f"amlstore://{folder}/0/run/artifacts/folder"),
    ]


def _cut(length: int) -> Callable[[Path], None]:
    def cut(database: Path) -> None:
        database.write_bytes(database.read_bytes()[:length])

    return cut


def _make_foreign(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE cookies (name TEXT); INSERT INTO cookies VALUES ('of a browser')")


def _make_mlflows_own(database: Path) -> None:
    """MLflow's own store has an `alembic_version` too."""
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('c48cb773bb87');"
            "CREATE TABLE experiments (experiment_id INTEGER)"
        )


def _overwrite(content: bytes) -> Callable[[Path], None]:
    return lambda database: database.write_bytes(content) and None


def _overwrite_middle(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096 * 2 : -4096] = b"\xa5" * len(content[4096 * 2 : -4096])
    database.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(_overwrite(b"not a database" * 1000), "file is not a database", id="garbage"),
        pytest.param(_overwrite(b"{}"), "file is not a database", id="another kind of file"),
        pytest.param(_cut(10), "file is not a database", id="cut in the header"),
        pytest.param(_cut(4096), "database disk image is malformed", id="cut after a page"),
        pytest.param(_cut(5000), "database disk image is malformed", id="cut inside a page"),
        pytest.param(_cut(-4096), "database disk image is malformed", id="cut by a page"),
        pytest.param(_make_foreign, "records.db is a database of another program", id="foreign database"),
        pytest.param(_make_mlflows_own, "records.db is a database of another program", id="MLflow's database"),
    ],
)
def test_a_database_that_cant_be_read_as_one_is_refused_and_left_alone(
    closed: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(closed / "records.db")
    before = _contents(closed)

    for open_it in _each_way_to_open(closed)[:2]:
        refused = _refusal(open_it)
        assert isinstance(refused, WorkspaceCorrupt)
        way_out = (
            f"Choose another folder for a new workspace, or {WorkspaceCorrupt.RESTORE}"
            if "another program" in problem
            else WorkspaceCorrupt.WAY_OUT
        )
        assert str(refused) == (
            f"The records of workspace {closed} can't be read: {problem}. Nothing was changed. {way_out}"
        )
    for open_it in _each_way_to_open(closed)[2:]:
        with pytest.raises(MlflowException, match=problem) as refused_by_mlflow:
            open_it()
        assert refused_by_mlflow.value.error_code == "INVALID_STATE"
    assert _contents(closed) == before


def test_damage_inside_the_database_is_reported_by_the_call_that_meets_it(closed: Path) -> None:
    _overwrite_middle(closed / "records.db")
    before = _contents(closed)

    refused = _refusal(lambda: Workspace.from_config(closed).experiments)

    assert isinstance(refused, WorkspaceCorrupt)
    assert "malformed" in refused.problem
    assert _contents(closed)["records.db"] == before["records.db"]


def test_an_empty_database_isnt_taken_for_a_new_workspace(closed: Path) -> None:
    """Records that a bad copy emptied must not quietly be nothing; only `init` makes a workspace."""
    (closed / "records.db").write_bytes(b"")

    refused = _refusal(lambda: Workspace.from_config(closed))

    assert isinstance(refused, WorkspaceCorrupt)
    assert refused.problem == "records.db is empty"
    assert f"run `amlstore init` again; if it held records, {WorkspaceCorrupt.RESTORE}" in str(refused)
    assert (closed / "records.db").read_bytes() == b""
    assert Workspace.create(closed).experiments.keys() == {"Default"}


def test_a_folder_without_a_database_and_files_is_no_workspace(closed: Path) -> None:
    (closed / "records.db").unlink()
    shutil.rmtree(closed / "files")

    refused = _refusal(lambda: Workspace.from_config(closed))

    assert isinstance(refused, WorkspaceNotFound)
    assert str(refused) == (
        f"No workspace in {closed}, which {closed}/config.json names. Make one with `amlstore init {closed}`, or "
        "correct the path there"
    )


def test_a_workspace_made_by_a_newer_release_is_left_alone(closed: Path) -> None:
    with closing(sqlite3.connect(closed / "records.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = _contents(closed)

    for open_it in _each_way_to_open(closed)[:2]:
        refused = _refusal(open_it)
        assert isinstance(refused, SchemaTooNew)
        assert str(refused) == (
            f"The workspace {closed} has schema 9999, which is newer than the 0006 that this release knows. "
            "Nothing was changed. Install a newer mlflow-amlstore"
        )
    for open_it in _each_way_to_open(closed)[2:]:
        with pytest.raises(MlflowException, match="has schema 9999") as refused_by_mlflow:
            open_it()
        assert refused_by_mlflow.value.error_code == "INVALID_STATE"
    assert _contents(closed) == before


def test_a_lost_files_folder_costs_the_files_and_nothing_else(closed: Path) -> None:
    (closed / "files").rename(closed.parent / "taken")
    client = MlflowClient(Workspace.from_config(closed).get_mlflow_tracking_uri())
    (run,) = client.search_runs(["0"])

    assert len(client.get_metric_history(run.info.run_id, "m")) == 1000
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["note.txt"]
    with pytest.raises(MlflowException, match=r"the content of 'note.txt' \([0-9a-f]{64}\) is missing from files/"):
        mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/note.txt")
    client.log_text(run.info.run_id, "again", "note.txt")
    assert Path(client.download_artifacts(run.info.run_id, "note.txt")).read_text() == "again"


def test_a_lost_content_is_named_and_the_other_files_are_there(closed: Path) -> None:
    client = MlflowClient(Workspace.from_config(closed).get_mlflow_tracking_uri())
    (run,) = client.search_runs(["0"])
    client.log_text(run.info.run_id, "other", "other.txt")
    _content_of(closed, NOTE).unlink()

    with pytest.raises(MlflowException, match=r"is missing from files/\. Restore files/ from a copy"):
        mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/note.txt")
    assert Path(client.download_artifacts(run.info.run_id, "other.txt")).read_text() == "other"


def test_a_content_changed_on_disk_is_noticed_by_its_checksum_and_not_handed_out(
    closed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = MlflowClient(Workspace.from_config(closed).get_mlflow_tracking_uri())
    (run,) = client.search_runs(["0"])
    _content_of(closed, NOTE).write_text("altered on disk 12345")
    target = tmp_path / "target"
    target.mkdir()

    with pytest.raises(MlflowException, match=r"the content of 'note.txt' \([0-9a-f]{64}\) is not what was stored"):
        mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/note.txt", dst_path=str(target))
    assert list(target.rglob("*")) == []

    # By way of `runs:/` MLflow 3 replaces every error by one of its own, so ours is logged too.
    caplog.clear()
    with pytest.raises(MlflowException):
        client.download_artifacts(run.info.run_id, "note.txt", str(target))
    assert re.search(r"the content of 'note.txt' \([0-9a-f]{64}\) is not what was stored", caplog.text)


def _content_of(workspace: Path, text: str) -> Path:
    (found,) = [path for path in (workspace / "files").rglob("*") if path.is_file() and path.read_text() == text]
    return found


@pytest.mark.parametrize("left", ["records.db-wal", "files/"])
def test_where_only_the_database_is_missing_no_new_workspace_takes_its_place(closed: Path, left: str) -> None:
    """A new one would give the files to `amlstore gc`, and the journal's writes to nobody."""
    if left == "records.db-wal":
        shutil.rmtree(closed / "files")
        (closed / left).write_bytes(b"the last writes")
    (closed / "records.db").unlink()
    before = _contents(closed)

    for open_it in _each_way_to_open(closed)[:2]:
        refused = _refusal(open_it)
        assert isinstance(refused, WorkspaceCorrupt)
        assert f"records.db is missing, though there is {left} of a workspace" in str(refused)
        assert "Restore records.db from a copy" in str(refused)
    assert _contents(closed) == before


def _problems(folder: Path) -> dict[str, str]:
    """What doctor finds wrong, by what it checked."""
    findings = examine_folder(folder, deep=True)
    return {found.check: f"{found.detail}. {found.remedy}" for found in findings if not found.is_ok}


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("DROP TABLE experiments", "no such table: experiments"),
        ("DROP TABLE files", "the table files is missing"),
        ("DELETE FROM workspace", "doesn't say which workspace it is of"),
        ("UPDATE alembic_version SET version_num = '0003'", "records.db isn't what its schema says"),
    ],
)
def test_a_database_that_isnt_what_its_schema_says_is_told_in_one_sentence(
    closed: Path, script: str, problem: str
) -> None:
    with closing(sqlite3.connect(closed / "records.db")) as connection, connection:
        connection.executescript(script)

    assert problem in " ".join(_problems(closed).values())
    with pytest.raises(AmlStoreError):  # not the database's own, with its hundred lines of stack
        _use_all(closed)


def _use_all(folder: Path) -> None:
    records = open_folder(folder).records
    records.experiments.search(max_results=10)
    for run in records.runs.search(["0"]).items:
        records.files.open(f"0/{run.info.run_id}/artifacts", "note.txt").close()


def test_doctor_compares_the_size_of_each_file_with_its_content(closed: Path) -> None:
    with closing(sqlite3.connect(closed / "records.db")) as connection, connection:
        connection.execute("UPDATE files SET size_bytes = 7")
    assert "1 of 1 contents are not what was stored; the first is note.txt" in _problems(closed)["files"]


def test_doctor_tells_that_a_file_takes_no_writes(closed: Path) -> None:
    content = bytearray((closed / "records.db").read_bytes())
    content[18] = 9  # a format that this SQLite reads and doesn't write (sqlite.org/fileformat.html)
    (closed / "records.db").write_bytes(content)
    assert "can be read, nothing can be logged" in _problems(closed)["writable"]


UNREADABLE = """
import os, sys
from pathlib import Path
from mlflow_amlstore.diagnosis.embedded import examine_folder
list(examine_folder(Path(sys.argv[2]), deep=True))  # imports what the other user may not
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for found in examine_folder(Path(sys.argv[1]), deep=True):
    print(found.is_ok, found.check, found.detail, found.remedy)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("files/{folder}", "1 of 1 contents can't be read by this user"),
        ("files/{content}", "1 of 1 contents can't be read by this user"),
        ("records.db", "this user may not read records.db"),
    ],
)
def test_doctor_tells_what_this_user_may_not_read(closed: Path, place: str, told: str) -> None:
    open_to_all = tempfile.mkdtemp()  # pytest's own folders aren't
    Path(open_to_all).chmod(0o755)
    folder = Path(shutil.copytree(closed, Path(open_to_all) / "ws"))
    content = _content_of(folder, NOTE).relative_to(folder / "files")
    (folder / place.format(folder=content.parent, content=content)).chmod(0)
    done = run_forked(["-c", UNREADABLE, folder, closed])
    shutil.rmtree(open_to_all)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


ENDS_NORMALLY = """
import os, sys
from mlflow_amlstore.core import Experiment, Workspace
workspace = Workspace.from_config(sys.argv[1])
run = Experiment(workspace, "e").start_logging(snapshot_directory=None)
run.log("loss", 0.5)
run.flush()
if "deleted" in sys.argv:
    os.remove(f"{sys.argv[1]}/records.db-wal")
"""


@pytest.mark.parametrize("fate", ["left", "deleted"])
def test_a_script_that_ends_leaves_no_journal_and_brings_in_one_that_was_deleted(closed: Path, fate: str) -> None:
    """So a copy of records.db alone is whole, and is put back without a journal that isn't its own."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS_NORMALLY, closed, fate], cwd=closed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (closed / "records.db-wal").exists()
    (run,) = Workspace.from_config(closed).experiments["e"].get_runs()
    assert run.get_metrics() == {"loss": 0.5}


def test_a_folder_that_holds_another_workspace_than_before_is_read_and_written_by_nobody(
    closed: Path, tmp_path: Path
) -> None:
    records = open_folder(closed).records
    run_id = records.runs.create("0").info.run_id
    create_workspace(tmp_path / "other").close()
    closed.rename(tmp_path / "moved")
    (tmp_path / "other").rename(closed)

    calls: list[Callable[[], object]] = [
        lambda: records.experiments.create("new"),
        lambda: records.runs.create("0"),
        lambda: records.files.write(f"0/{run_id}/artifacts", "a.txt", io.BytesIO(b"a")),
        lambda: records.metrics.list_metrics(run_id),
    ]
    for call in calls:
        with pytest.raises(WorkspaceReplaced, match="holds another workspace than when it was opened"):
            call()


def test_an_index_of_the_journal_that_is_taken_from_under_a_process_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_amlstore.records.database._INDEX_CHECKED_EVERY_S", 0)
    workspace = create_workspace(tmp_path / "ws")
    run_id = workspace.records.runs.create("0").info.run_id
    workspace.records.runs.log(run_id, points=[("loss", 0.5, 0, 1)])
    (tmp_path / "ws" / "records.db-shm").unlink()
    for _ in range(2):
        with pytest.raises(WorkspaceCorrupt, match=r"records\.db-shm was deleted or replaced"):
            workspace.records.runs.log(run_id, points=[("loss", 0.5, 1, 1)])
    workspace.close()
    assert len(open_folder(tmp_path / "ws").records.metrics.history(run_id, "loss").items) == 1


@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_a_journal_that_is_taken_from_under_a_process_is_noticed_and_nothing_acknowledged_is_lost(
    tmp_path: Path, fate: str
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    run_id = workspace.records.runs.create("0").info.run_id
    for step in range(100):
        workspace.records.runs.log(run_id, points=[("loss", 0.5, step, 1)])
    journal = tmp_path / "ws" / "records.db-wal"
    content = journal.read_bytes()
    journal.unlink()
    if fate == "replaced":
        journal.write_bytes(content)

    for _ in range(2):
        with pytest.raises(WorkspaceCorrupt, match=r"records\.db-wal was deleted or replaced"):
            workspace.records.runs.log(run_id, points=[("loss", 0.5, 100, 1)])

    workspace.close()
    again = open_folder(tmp_path / "ws")
    assert len(again.records.metrics.history(run_id, "loss").items) == 100
    again.records.runs.log(run_id, points=[("loss", 0.5, 100, 1)])
    again.close()
