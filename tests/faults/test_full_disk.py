"""A disk without room: one clear error, nothing half-recorded, earlier records intact, and more room helps."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from forked_service import ForkedService
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from mlflow_amlstore.core import Workspace
from mlflow_amlstore.errors import DiskFull

RunScript = Callable[..., str]
Fill = Callable[[], Path]

MEGABYTE = 1024 * 1024


@pytest.fixture
def client(small_disk: Path) -> MlflowClient:
    """Of a workspace on the small disk."""
    return MlflowClient(Workspace.create(small_disk / "ws").get_mlflow_tracking_uri())


@pytest.fixture(params=["embedded", "of a service"])
def either_client(request: pytest.FixtureRequest, small_disk: Path, tmp_path: Path) -> Iterator[MlflowClient]:
    """Of a workspace on the small disk, by its folder or through its service, whose log is elsewhere."""
    if request.param == "embedded":
        yield request.getfixturevalue("client")
        return
    service = ForkedService(tmp_path / "service")
    service.folder = small_disk / "ws"
    with service:
        yield MlflowClient(service.tracking_uri)


def test_metrics_are_refused_when_the_disk_is_full_and_taken_again_when_there_is_room(
    either_client: MlflowClient, fill: Fill
) -> None:
    client = either_client
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", -1.0, step=-1)
    ballast = fill()
    logged = 0

    def log_for_ever() -> None:
        nonlocal logged
        while True:
            client.log_batch(run_id, metrics=[Metric("m", step, 0, step) for step in range(logged, logged + 1000)])
            logged += 1000

    message = r"No space left on the disk of workspace .* Free some space and call again"
    with pytest.raises(MlflowException, match=message) as refused:
        log_for_ever()

    assert refused.value.error_code == "RESOURCE_EXHAUSTED"
    assert [point.step for point in client.get_metric_history(run_id, "m")] == list(range(-1, logged))
    ballast.unlink()
    client.log_metric(run_id, "m", logged, step=logged)
    assert [point.step for point in client.get_metric_history(run_id, "m")] == list(range(-1, logged + 1))


def test_a_file_too_large_for_the_disk_is_refused_and_leaves_nothing(
    client: MlflowClient, small_disk: Path, tmp_path: Path
) -> None:
    run_id = client.create_run("0").info.run_id
    (tmp_path / "small").write_bytes(b"s" * 1000)
    client.log_artifact(run_id, tmp_path / "small")
    free = shutil.disk_usage(small_disk).free
    (tmp_path / "large").write_bytes(b"l" * 8 * MEGABYTE)

    with pytest.raises(MlflowException, match="No space left on the disk") as refused:
        client.log_artifact(run_id, tmp_path / "large")

    assert refused.value.error_code == "RESOURCE_EXHAUSTED"
    assert [(file.path, file.file_size) for file in client.list_artifacts(run_id)] == [("small", 1000)]
    assert list((small_disk / "ws/files/incoming").iterdir()) == []
    assert shutil.disk_usage(small_disk).free == free
    assert Path(client.download_artifacts(run_id, "small")).read_bytes() == b"s" * 1000


def test_of_a_folder_too_large_for_the_disk_no_file_is_kept(client: MlflowClient, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    (tmp_path / "folder").mkdir()
    for number in range(8):
        (tmp_path / f"folder/{number}").write_bytes(bytes([number]) * MEGABYTE)

    with pytest.raises(MlflowException, match="this call was not recorded"):
        client.log_artifacts(run_id, tmp_path / "folder")

    assert client.list_artifacts(run_id) == []


def test_a_checkpoint_that_no_longer_fits_leaves_the_last_one(client: MlflowClient, fill: Fill, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"1" * MEGABYTE)
    client.log_artifact(run_id, checkpoint)
    ballast = fill()
    checkpoint.write_bytes(b"2" * MEGABYTE)

    with pytest.raises(MlflowException, match="everything logged earlier is intact"):
        client.log_artifact(run_id, checkpoint)
    assert Path(client.download_artifacts(run_id, "last.ckpt")).read_bytes() == b"1" * MEGABYTE

    ballast.unlink()
    client.log_artifact(run_id, checkpoint)
    assert Path(client.download_artifacts(run_id, "last.ckpt")).read_bytes() == b"2" * MEGABYTE


def test_a_full_disk_can_still_be_read_in_another_process(
    client: MlflowClient, fill: Fill, run_script: RunScript
) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "m", 3.0)
    fill()
    script = """
import sys
from mlflow import MlflowClient
print(MlflowClient(sys.argv[1]).get_run(sys.argv[2]).data.metrics)
"""

    assert run_script(script, client.tracking_uri, run_id) == "{'m': 3.0}\n"


def test_no_workspace_is_made_on_a_full_disk(small_disk: Path, fill: Fill) -> None:
    ballast = fill()

    with pytest.raises(DiskFull, match=r"No space left on the disk of workspace .*/disk/new"):
        Workspace.create(small_disk / "new")

    ballast.unlink()
    assert Workspace.create(small_disk / "new").name == "new"


WITH_LIMITED_FILES = """
import os, pathlib, resource, sys
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

client, run_id, folder = MlflowClient(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
client.log_metric(run_id, "before", 1.0)
(folder / "large").write_bytes(bytes(3_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    client.log_artifact(run_id, folder / "large")
except MlflowException as error:
    print(error.error_code)
logged = 0
try:
    while True:
        client.log_metric(run_id, "m", logged, step=logged)
        logged += 1
        if logged > 100_000:
            break
except MlflowException as error:
    print(error.error_code, logged)
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no limit on the size of files")
def test_a_process_that_may_not_write_large_files_hears_it_and_loses_nothing(
    amlstore_workspace: Workspace, tmp_path: Path, run_script: RunScript
) -> None:
    """What a disk quota does, without being root: writing past the limit fails in the middle."""
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    for step in range(0, 20_000, 1000):
        client.log_batch(run_id, metrics=[Metric("m", -1, 0, -1 - step - i) for i in range(1000)])
    amlstore_workspace.close()

    printed = run_script(WITH_LIMITED_FILES, amlstore_workspace.get_mlflow_tracking_uri(), run_id, tmp_path).split()

    of_file, of_metric, logged = printed
    assert of_file == "RESOURCE_EXHAUSTED"
    assert of_metric in ("RESOURCE_EXHAUSTED", "INTERNAL_ERROR")  # SQLite says "disk I/O error" and not why
    assert mlflow.artifacts.list_artifacts(run_id=run_id) == []
    steps = [point.step for point in client.get_metric_history(run_id, "m")]
    assert sorted(steps) == list(range(-20_000, int(logged)))
    client.log_metric(run_id, "m", 0, step=-50_000)
    assert client.get_run(run_id).data.metrics["before"] == 1.0
