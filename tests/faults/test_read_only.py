"""A workspace that may be read but not written: reading works, writing gives one clear error, nothing changes."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fork_server import ForkedProcess
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import ReadOnly
from mlflow_amlstore.records.database import Database
from mlflow_amlstore.records.schema import run_migrations
from mlflow_amlstore.records.sqlite import use_write_ahead_log
from mlflow_amlstore.workspace.opening import create_workspace, open_folder

RunScript = Callable[..., str]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are tested as POSIX has them")

# Root may write anywhere, so a script that root starts becomes user 65534, "nobody", when all is imported: what is
# imported late, by a first search.
AS_NOBODY = """
import os, sys
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow_amlstore.core import Workspace

MlflowClient(Workspace.create(sys.argv[3]).get_mlflow_tracking_uri()).search_runs(["0"])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
client, run_id = MlflowClient(sys.argv[1]), sys.argv[2]

def refused(call):
    try:
        call()
    except MlflowException as error:
        print(error.error_code, "|", error.message)
    else:
        print("not refused")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, as pytest's own are not."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def _set_writable(folder: Path, is_writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = 0o755 if path.is_dir() else 0o644
        path.chmod(mode if is_writable else mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


READ_AND_TRY_TO_WRITE = """
print(client.get_run(run_id).data.metrics, [file.path for file in client.list_artifacts(run_id)])
print(open(client.download_artifacts(run_id, "note.txt")).read())
refused(lambda: client.log_metric(run_id, "m", 2.0))
refused(lambda: client.log_param(run_id, "p", 2))
refused(lambda: client.create_experiment("new"))
refused(lambda: client.log_text(run_id, "text", "new.txt"))
refused(lambda: client.get_run("unknown"))
print(client.get_run(run_id).data.metrics)
"""


def test_a_read_only_workspace_is_read_and_every_write_is_refused(
    folder: Path, tmp_path: Path, run_script: RunScript
) -> None:
    workspace = Workspace.create(folder / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 1.0)
    client.log_text(run_id, "hello", "note.txt")
    workspace.close()
    _set_writable(workspace.path, False)
    before = _contents(workspace.path)

    printed = run_script(
        AS_NOBODY + READ_AND_TRY_TO_WRITE, client.tracking_uri, run_id, tmp_path / "other"
    ).splitlines()

    read_only = (
        f"PERMISSION_DENIED | The workspace {workspace.path} is read-only for this user: what it holds can be read, "
        "nothing can be logged. Give this user write permission on the folder and on records.db in it, or copy the "
        "workspace elsewhere"
    )
    assert printed == [
        "{'m': 1.0} ['note.txt']",
        "hello",
        *[read_only] * 4,
        "RESOURCE_DOES_NOT_EXIST | Run 'unknown' not found",
        "{'m': 1.0}",
    ]
    assert _contents(workspace.path) == before
    _set_writable(workspace.path, True)
    client.log_metric(run_id, "m", 3.0)
    assert client.get_run(run_id).data.metrics == {"m": 3.0}


def test_in_a_read_only_workspace_a_run_that_was_not_submitted_is_offline(
    folder: Path, tmp_path: Path, run_script: RunScript
) -> None:
    workspace = Workspace.create(folder / "ws")
    uri = workspace.get_mlflow_tracking_uri()
    workspace.close()
    _set_writable(workspace.path, False)
    script = AS_NOBODY + "os.chdir(sys.argv[2])\nfrom mlflow_amlstore.core import Run\nRun.get_context().log('m', 1)"
    assert run_script(script, uri, workspace.path, tmp_path / "other") == "[offline run] m = 1\n"


READ_WHILE_THE_OWNER_WRITES = """
for _ in range(3):
    print(client.get_run(run_id).data.metrics, flush=True)
    sys.stdin.readline()
print(client.get_run(run_id).data.metrics, flush=True)
"""


def test_who_may_only_read_sees_what_the_owner_logs_meanwhile(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(folder / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    workspace.close()
    if os.geteuid() != 0:
        pytest.skip("owner and reader must be two users, which needs root")
    script = ["-c", AS_NOBODY + READ_WHILE_THE_OWNER_WRITES]
    arguments = [client.tracking_uri, run_id, str(tmp_path / "other")]
    with ForkedProcess([*script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin
        assert reader.stdout
        seen = [reader.stdout.readline()]
        for value in (1.0, 2.0, 3.0):
            client.log_metric(run_id, "m", value, step=int(value))
            if value == 2.0:
                workspace.close()
            reader.stdin.write("\n")
            reader.stdin.flush()
            seen.append(reader.stdout.readline())

    assert seen == ["{}\n", "{'m': 1.0}\n", "{'m': 2.0}\n", "{'m': 3.0}\n"]


LOG_AND_DIE = """
import os, signal, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
if os.fork() == 0:
    client.log_metric(sys.argv[2], "m", 7.0)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"""


def test_what_a_killed_process_logged_is_read_where_nothing_can_be_written(
    folder: Path, tmp_path: Path, run_script: RunScript
) -> None:
    """The last records are still in the write-ahead log then, and nobody may move them into records.db."""
    workspace = Workspace.create(folder / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    workspace.close()
    run_script(LOG_AND_DIE, client.tracking_uri, run_id)
    assert (workspace.path / "records.db-wal").stat().st_size
    _set_writable(workspace.path, False)

    printed = run_script(AS_NOBODY + "print(client.get_run(run_id).data.metrics)", client.tracking_uri, run_id,
                         tmp_path / "other")  # fmt: skip

    assert printed == "{'m': 7.0}\n"
    _set_writable(workspace.path, True)


def test_a_disk_mounted_read_only_is_read_and_every_write_is_refused(small_disk: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(small_disk / "ws")
    client = MlflowClient(workspace.get_mlflow_tracking_uri())
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 1.0)
    (tmp_path / "file").write_text("text")
    workspace.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    again = MlflowClient(Workspace.create(small_disk / "ws").get_mlflow_tracking_uri())

    assert again.get_run(run_id).data.metrics == {"m": 1.0}
    for write in (lambda: again.log_metric(run_id, "m", 2.0), lambda: again.log_artifact(run_id, tmp_path / "file")):
        with pytest.raises(MlflowException, match="is read-only for this user") as refused:
            write()
        assert refused.value.error_code == "PERMISSION_DENIED"


def test_one_that_can_not_even_be_read_there_says_why(small_disk: Path, run_script: RunScript) -> None:
    """Its last writes were never brought into records.db, or its schema is an older one."""
    cut_short = Workspace.create(small_disk / "cut short")
    run_id = MlflowClient(cut_short.get_mlflow_tracking_uri()).create_run("0").info.run_id
    cut_short.close()
    run_script(LOG_AND_DIE, cut_short.get_mlflow_tracking_uri(), run_id)
    (cut_short.path / "records.db-shm").unlink()

    (small_disk / "older").mkdir()
    use_write_ahead_log(small_disk / "older" / "records.db", lock_timeout_s=1)
    with closing(Database(small_disk / "older")) as database, database.write() as connection:
        run_migrations(connection, "0002")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    with pytest.raises(ReadOnly, match=r"its last writes, in records\.db-wal, must be brought in first"):
        open_folder(cut_short.path)
    for call in (open_folder, create_workspace):
        with pytest.raises(ReadOnly, match=r"can't be read before its schema 0002 is brought to"):
            call(small_disk / "older")


def test_no_workspace_is_made_where_nothing_may_be_written(folder: Path, tmp_path: Path, run_script: RunScript) -> None:
    uri = Workspace.create(folder / "ws").get_mlflow_tracking_uri()
    (folder / "closed").mkdir(mode=0o555)
    script = """
from mlflow_amlstore.errors import ReadOnly
for place in ("", "/new"):
    try:
        Workspace.create(sys.argv[4] + place)
    except ReadOnly as error:
        print(str(error)[: str(error).index(":")])
"""
    printed = run_script(AS_NOBODY + script, uri, "no run", tmp_path / "other", folder / "closed")

    assert printed.splitlines() == [
        f"The workspace {folder}/closed is read-only for this user",
        f"The workspace {folder}/closed/new is read-only for this user",
    ]
    assert list((folder / "closed").iterdir()) == []
