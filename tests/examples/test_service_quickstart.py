import re
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient


def test_two_processes_log_and_what_they_logged_stays(
    run_example: Callable[..., str], open_client: Callable[[], MlflowClient], tmp_path: Path
) -> None:
    printed = run_example("service_quickstart.py")

    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert sorted(row[:4] for row in rows) == [
        ["rate 0.02", "FINISHED", "0.1353", "100"],
        ["rate 0.1", "FINISHED", "0.0000", "100"],
    ]
    processes = {re.fullmatch(r"Trained in process (\d+)\.", row[4])[1] for row in rows}  # type: ignore[index]
    assert len(processes) == 2
    assert printed.endswith(f"Stopped the service; its workspace stays in {tmp_path}/amlstore-workspace\n")

    client = open_client()
    runs = client.search_runs([client.get_experiment_by_name("quickstart").experiment_id])
    assert {run.data.params["rate"] for run in runs} == {"0.02", "0.1"}
