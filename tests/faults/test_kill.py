"""`kill -9` in the middle of logging, twenty times: what was acknowledged is there, and nothing is half there."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.sql.files import SqlFiles
from mlflow_amlstore.workspace.opening import open_folder, open_workspace

RunScript = Callable[..., str]

KILLS = 20
# Each child logs as fast as it can and says so on a pipe after each call that returned. It is killed some calls after
# its first word, at a random moment.
LOGGING_AND_KILLED = """
import os, pathlib, random, signal, sys, time
from mlflow import MlflowClient

uri, folder, kills = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])

def log(say):
    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    say(f"run {run_id} 0")
    number = 0
    while True:
        client.log_metric(run_id, "m", number / 3, step=number)
        say(f"metric {run_id} {number}")
        client.log_param(run_id, f"p{number}", number)
        say(f"param {run_id} {number}")
        client.log_batch(run_id, tags=[mlflow_tag(f"t{number}", number), mlflow_tag(f"u{number}", number)])
        say(f"tags {run_id} {number}")
        for name in (f"{number}.bin", "last.ckpt"):
            (folder / name).write_bytes(f"{run_id} {number};".encode() * 20_000)
            client.log_artifact(run_id, folder / name)
            say(f"{name} {run_id} {number}")
        number += 1

def mlflow_tag(key, value):
    from mlflow.entities import RunTag
    return RunTag(key, str(value))

for kill in range(kills):
    ours, childs = os.pipe()
    child = os.fork()
    if child == 0:
        log(lambda text: os.write(childs, (text + "\\n").encode()))
    os.close(childs)
    said = b""
    for _ in range(random.randint(1, 60)):
        said += os.read(ours, 65536)
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    while more := os.read(ours, 65536):
        said += more
    os.close(ours)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child ended before it was killed"
    sys.stdout.write(said.decode())
"""


def test_after_twenty_kills_every_acknowledged_call_is_there_and_every_file_is_whole(
    amlstore_workspace: Workspace, tmp_path: Path, run_script: RunScript
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    uri = amlstore_workspace.get_mlflow_tracking_uri()
    amlstore_workspace.close()

    said = run_script(LOGGING_AND_KILLED, uri, folder, KILLS)

    acknowledged = [(what, run_id, int(number)) for what, run_id, number in map(str.split, said.splitlines())]
    run_ids = {run_id for _, run_id, _ in acknowledged}
    assert len(run_ids) == KILLS
    lost = [call for call in acknowledged if not _is_there(*call)]
    verified = sum(_verify_files(run_id) for run_id in run_ids)
    left = len(list((amlstore_workspace.path / "files" / "incoming").iterdir()))
    trash = open_folder(amlstore_workspace.path).records.trash
    swept = trash.empty(trash.list_deleted())
    print(f"kills: {KILLS}, acknowledged calls: {len(acknowledged)}, found: {len(acknowledged) - len(lost)}")
    print(f"files listed and verified by SHA-256: {verified}; half uploads left, listed nowhere: {left}")
    print(f"bytes of contents that got no name, swept by gc: {swept}")
    assert lost == []
    assert sum(_verify_files(run_id) for run_id in run_ids) == verified > 0


def _is_there(what: str, run_id: str, number: int) -> bool:
    client = MlflowClient()
    run = client.get_run(run_id)
    if what == "metric":
        return (number, number / 3) in {(point.step, point.value) for point in client.get_metric_history(run_id, "m")}
    if what == "param":
        return run.data.params[f"p{number}"] == str(number)
    if what == "tags":
        return run.data.tags[f"t{number}"] == run.data.tags[f"u{number}"] == str(number)
    if what.endswith(".bin"):
        return _number_of(run_id, what) == number
    if what == "last.ckpt":
        return _number_of(run_id, what) >= number
    return True


def _number_of(run_id: str, name: str) -> int:
    """Which number a whole file was made for."""
    with _files().open(run_container("0", run_id), name) as opened:
        content = opened.read()
    first = content.partition(b";")[0]
    assert content == (first + b";") * 20_000
    assert first.split()[0].decode() == run_id
    return int(first.split()[1])


def _verify_files(run_id: str) -> int:
    """Check each listed file of a run against its checksum; return how many there are."""
    listed = _files().list_all(run_container("0", run_id))
    for record in listed:
        with _files().open(run_container("0", run_id), record.path) as content:
            assert hashlib.sha256(content.read()).hexdigest() == record.sha256
    return len(listed)


def _files() -> SqlFiles:
    return open_workspace(mlflow.get_tracking_uri()).records.files
