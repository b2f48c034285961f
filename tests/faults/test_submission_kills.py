"""Script, runner, submitter, agent and service are killed in turn while a submitted script logs.

Each time: what the script was told is kept is there, no process of the run is left, the run has ended, and its script
was started once. `-m full` does it ten times each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from forked_service import ForkedService
from waiting import is_running, wait_for

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunStatus

VICTIMS = ["script", "runner", "submitter", "agent", "service"]
TIMES = [pytest.param(number, marks=[pytest.mark.full] if number else []) for number in range(10)]
POOL = "pool"
CLI = [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()"]
# Says in files of its own who it is, and which values it was told are kept.
SCRIPT = """\
import os, sys, time
import mlflow

told = sys.argv[1]
with open(told + "/starts", "a") as starts:
    print(os.getpid(), os.getppid(), file=starts)
mlflow.start_run()
for step in range(60):
    mlflow.log_metric("loss", step / 4, step=step)
    with open(told + "/kept", "a") as kept:
        print(step, file=kept)
    time.sleep(0.05)
"""
SUBMITTER = """\
import sys, time
from mlflow_amlstore.core import Experiment, ScriptRunConfig, Workspace

experiment = Experiment(Workspace.from_url(sys.argv[1]), "killed")
config = ScriptRunConfig(sys.argv[2], "train.py", [sys.argv[3]], compute_target=sys.argv[4])
print(experiment.submit(config).id, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def agent_key(service: ForkedService) -> str:
    given = {"name": "agents", "role": "agent"}
    return str(service.call("POST", "/auth/keys", service.exchange(service.key), given)["key"])


def of_run(run_id: str) -> list[int]:
    """The processes that have a run's id in their command line or environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if run_id.encode() in told and is_running(int(process.name)):
                found.append(int(process.name))
    return found


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("number", TIMES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_left_or_started_twice(
    service: ForkedService, agent_key: str, tmp_path: Path, victim: str, number: int
) -> None:
    told = tmp_path / "told"
    source = tmp_path / "source"
    told.mkdir()
    source.mkdir()
    (source / "train.py").write_text(SCRIPT)
    with ExitStack() as stop:

        def start(command: list[str], key: str) -> "subprocess.Popen[str]":
            environment = {**os.environ, "AMLSTORE_KEY": key, "HOME": str(tmp_path)}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            stop.callback(process.wait)
            stop.callback(process.kill)
            return process

        agent = start(
            [*CLI, "agent", "--url", service.url, "--compute", POOL, "--slots", "1", "--trust-submitters"], agent_key
        )
        assert agent.stdout is not None
        assert agent.stdout.readline().startswith("Working")
        submitter = start(
            [sys.executable, "-c", SUBMITTER, service.url, str(source), str(told), POOL],
            service.key,
        )
        assert submitter.stdout is not None
        run_id = submitter.stdout.readline().strip()
        wait_for(lambda: len(lines_of(told / "kept")) > 3)
        script, runner = map(int, lines_of(told / "starts")[0].split())
        if victim == "service":
            service.kill()
            service.restart()
        else:
            pids = {"script": script, "runner": runner, "submitter": submitter.pid, "agent": agent.pid}
            os.kill(pids[victim], signal.SIGKILL)
        workspace = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
        run = Run.get(workspace, run_id)
        killed_s = time.monotonic()
        wait_for(lambda: RunStatus(run.get_status()) in ENDED)
        ended_s = time.monotonic()
        wait_for(lambda: not of_run(run_id))
    assert len(lines_of(told / "starts")) == 1
    expected = "Failed" if victim in ("script", "runner") else "Completed"
    assert run.get_status() == expected
    steps = {int(line) for line in lines_of(told / "kept")}
    found = {point.step for point in workspace.records.metrics.history(run_id, "loss").items}
    assert steps <= found, sorted(steps - found)
    workspace.close()
    told_of = {"victim": victim, "kept": len(steps), "status": expected, "ended_s": round(ended_s - killed_s, 2)}
    print(json.dumps(told_of))
