"""Files are streamed: a large one takes time and room on the disk, and no memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_amlstore.core import Workspace

RunScript = Callable[..., str]

GIGABYTES_AND_A_HALF = 1_500_000_000

UP_AND_DOWN = """
import sys
from pathlib import Path
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

def megabytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024

def peak_growth(call):
    before = megabytes("VmRSS:")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # start measuring the peak anew (proc(5))
    call()
    return megabytes("VmHWM:") - before

client, run_id, large, small = MlflowClient(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
client.log_artifact(run_id, small)
download_artifacts(run_id=run_id, artifact_path=small.name, tracking_uri=sys.argv[1])  # imports what is imported late
target = Path(sys.argv[5])
target.mkdir()
print(peak_growth(lambda: client.log_artifact(run_id, large)))
print(peak_growth(lambda: download_artifacts(
    run_id=run_id, artifact_path=large.name, dst_path=str(target), tracking_uri=sys.argv[1]
)))
print((target / large.name).stat().st_size)
(target / large.name).unlink()
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is measured as Linux tells it")
def test_a_file_of_a_gigabyte_and_a_half_goes_up_and_down_in_under_100_mb_of_memory(
    amlstore_workspace: Workspace, tmp_path: Path, run_script: RunScript
) -> None:
    run_id = MlflowClient().create_run("0").info.run_id
    with (tmp_path / "large.bin").open("wb") as large:
        large.truncate(GIGABYTES_AND_A_HALF)
    (tmp_path / "small.bin").write_bytes(b"small")

    printed = run_script(UP_AND_DOWN, amlstore_workspace.get_mlflow_tracking_uri(), run_id, tmp_path / "large.bin",
                         tmp_path / "small.bin", tmp_path / "target")  # fmt: skip

    up_megabytes, down_megabytes, size = map(float, printed.split())
    print(f"peak memory grew by {up_megabytes:.1f} MB going up, {down_megabytes:.1f} MB coming down")
    assert size == GIGABYTES_AND_A_HALF
    assert up_megabytes < 100
    assert down_megabytes < 100
    assert {file.path: file.file_size for file in MlflowClient().list_artifacts(run_id)} == {
        "large.bin": GIGABYTES_AND_A_HALF,
        "small.bin": 5,
    }
    get_artifact_repository(f"runs:/{run_id}").delete_artifacts(
        "large.bin"
    )  # pytest keeps the folders of three sessions
