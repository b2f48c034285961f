"""Two processes of one run that train together: each has its log, and what they agree on is in the run."""

import re
from pathlib import Path

import pytest
from fork_server import run_forked

from mlflow_amlstore.core import Experiment, Workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "submit_two_ranks.py"

pytestmark = pytest.mark.needs("torch")


def test_submit_two_ranks(tmp_path: Path) -> None:
    done = run_forked([EXAMPLE, "--workspace", tmp_path / "ws"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    ws = Workspace.create(tmp_path / "ws")
    (run,) = Experiment(ws, "line-by-two-ranks").get_runs()
    assert run.get_status() == "Completed"
    losses = run.get_metrics()["loss"]
    assert len(losses) == 20
    assert losses[-1] < 1e-6 * losses[0]
    logs = run.get_details_with_logs()["logFiles"]
    ws.close()

    # Both found the line, which neither's point alone gives, and each log has its own rank's lines alone.
    for rank, point in enumerate(("(-1, -2)", "(1, 4)")):
        text = logs[f"user_logs/std_log_process_{rank}.txt"]
        assert set(re.findall(r"^rank (\d)", text, re.MULTILINE)) == {str(rank)}
        assert f"rank {rank} of 2 has the point {point}\nrank {rank} found y = 3.00 x + 1.00\n" in text
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        assert f"user_logs/std_log_process_{rank}.txt\n{indented}" in done.stdout
    assert f"\nloss {losses[0]:.3f} to {losses[-1]:.3f} in 20 steps, run {run.id}\n" in done.stdout
