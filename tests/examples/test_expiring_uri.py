import re
from collections.abc import Callable
from pathlib import Path

from machine_speed import at_least
from mlflow import MlflowClient


def test_nothing_is_lost_though_uris_expire_many_times(run_example: Callable[..., str], tmp_path: Path) -> None:
    life_s = at_least(3, 5)
    lives = ("--lifetime", str(life_s), "--seconds", str(life_s * 3.2))
    printed = run_example("expiring_uri.py", "--workspace", "elsewhere", *lives)

    runs = re.findall(r"^(.*): (\d+) points logged, (\d+) arrived, FINISHED$", printed, re.MULTILINE)
    assert [name for name, _, _ in runs] == ["finds the key", "has nothing but the URI"]
    for _, logged, arrived in runs:
        assert logged == arrived
        assert int(logged) > 20
    issued = re.search(r"were issued and renewed (\d+) times", printed)
    assert issued is not None
    assert int(issued[1]) >= 6  # each of the two processes outlives its URI three times
    assert printed.endswith(f"Stopped the service; its workspace stays in {tmp_path}/elsewhere\n")

    client = MlflowClient(f"amlstore://{tmp_path}/elsewhere")
    kept = client.search_runs([client.get_experiment_by_name("expiring").experiment_id])
    assert {run.info.run_name for run in kept} == {name for name, _, _ in runs}
