"""Agents: what is submitted to a pool of a service runs on the machine that an agent works on, and once."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from forked_service import ForkedService
from waiting import wait_for

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Experiment, Run, ScriptRunConfig, Workspace
from mlflow_amlstore.errors import ServiceError
from mlflow_amlstore.runner.launch import RunFolder
from mlflow_amlstore.runner.preparation_log import node_name
from mlflow_amlstore.workspace.opening import open_folder

LOG = "user_logs/std_log.txt"
CLI = [sys.executable, "-c", "from mlflow_amlstore.cli import main; main()"]
StartAgent = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def workspace(service: ForkedService) -> Iterator[Workspace]:
    opened = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def agent_key(service: ForkedService) -> str:
    created: dict[str, str] = service.call(
        "POST", "/auth/keys", service.exchange(service.key), {"name": "agents", "role": "agent"}
    )
    return created["key"]


@pytest.fixture
def start_agent(service: ForkedService, agent_key: str, tmp_path: Path) -> Iterator[StartAgent]:
    """Start `amlstore agent` for a pool of this name, and wait until it works."""
    with ExitStack() as stop:

        def start(pool: str, *options: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*CLI, "agent", "--url", service.url, "--compute", pool, "--trust-submitters", *options],
                env={**os.environ, "AMLSTORE_KEY": agent_key, "HOME": str(tmp_path)},
                stdout=subprocess.PIPE,
                text=True,
            )
            stop.callback(process.wait)
            stop.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"Working for {pool}")
            return process

        yield start


@pytest.fixture
def experiment(workspace: Workspace) -> Experiment:
    return Experiment(workspace, "on agents")


def source(folder: Path, script: str, **files: str) -> str:
    for name, text in {"train.py": script, **files}.items():
        (folder / name).write_text(text)
    return str(folder)


def log_of(run: Run) -> str:
    text: str = run.get_details_with_logs()["logFiles"][LOG]
    return text


def test_the_queue_is_the_same_over_the_service_as_in_its_folder(
    service: ForkedService, experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent("queued", "--slots", "1")
    agent.kill()
    folder = source(tmp_path, "")
    waiting = [experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="queued")).id for _ in range(2)]
    queue = experiment.workspace.records.runs.queue()
    assert [(entry.info.run_id, entry.position) for entry in queue if entry.target == "queued"] == [
        (waiting[0], 1),
        (waiting[1], 2),
    ]
    of_folder = [entry for entry in open_folder(service.folder).records.runs.queue() if entry.target is not None]
    assert [(each.info.run_id, each.experiment, each.target, each.position) for each in queue] == [
        (each.info.run_id, each.experiment, each.target, each.position) for each in of_folder
    ]


def test_a_script_runs_with_its_files_and_logs_into_its_run(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    start_agent("whole")
    folder = source(
        tmp_path,
        "import sys, helper\n"
        "from azureml.core import Run\n"
        "Run.get_context().log('loss', helper.LOSS)\n"
        "open('outputs/model.txt', 'w').write('model')\n"
        "print(sys.argv[1:])\n",
        **{"helper.py": "LOSS = 0.25\n"},
    )
    run = experiment.submit(ScriptRunConfig(folder, "train.py", ["--alpha", 0.5], compute_target="whole"))
    details = run.wait_for_completion()
    assert (details["status"], details["target"]) == ("Completed", "whole")
    assert log_of(run) == "['--alpha', '0.5']\n"
    assert run.get_metrics() == {"loss": 0.25}
    assert "outputs/model.txt" in run.get_file_names()


def test_the_agents_machine_tells_what_it_did_and_has_the_sdk_where_the_submission_says_so(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = tmp_path / "installed" / "azureml" / "core" / "__init__.py"
    sdk.parent.mkdir(parents=True)
    sdk.touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"), prepend=os.pathsep)
    start_agent("telling")
    (tmp_path / "source").mkdir()
    folder = source(tmp_path / "source", "import azureml.core; print(azureml.core.__file__)")
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="telling"), azureml="sdk")
    run.wait_for_completion()
    assert log_of(run) == f"{sdk}\n"
    preparation = run.get_details_with_logs()["logFiles"][f"azureml-logs/65_job_prep-{node_name()}.txt"]
    fetched, *_, azureml = [line.partition("Z ")[2] for line in preparation.splitlines()]
    assert fetched == f"Fetched the source folder: 1 file, {(tmp_path / 'source' / 'train.py').stat().st_size} bytes"
    assert azureml.startswith("`azureml` means Azure ML's own SDK")


def test_it_waits_until_an_agent_comes(experiment: Experiment, start_agent: StartAgent, tmp_path: Path) -> None:
    start_agent("later").terminate()
    folder = source(tmp_path, "print('ran')\n")
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="later"))
    assert run.get_status() == "Queued"
    start_agent("later")
    run.wait_for_completion()
    assert log_of(run) == "ran\n"


def test_so_many_run_at_a_time_as_the_agent_has_slots(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    start_agent("narrow", "--slots", "1")
    folder = source(tmp_path, "import time\nprint(time.time())\ntime.sleep(0.5)\nprint(time.time())\n")
    runs = [experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="narrow")) for _ in range(3)]
    for run in runs:
        run.wait_for_completion()
    times = [[float(line) for line in log_of(run).split()] for run in runs]
    assert all(before[1] < after[0] for before, after in pairwise(times))


def test_a_run_that_is_canceled_ends_and_one_that_waits_never_starts(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    start_agent("canceling", "--slots", "1")
    folder = source(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    running, waiting = (
        experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="canceling")) for _ in range(2)
    )
    pid = int(wait_for(lambda: LOG in running.get_file_names() and log_of(running)))
    for run in (waiting, running):
        run.cancel()
        assert run.wait_for_completion()["status"] == "Canceled"
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    assert LOG not in waiting.get_file_names()


def test_its_runs_go_on_when_an_agent_is_killed(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent("killed")
    folder = source(tmp_path, "import time\nprint('begins', flush=True)\ntime.sleep(2)\nprint('ends')\n")
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="killed"))
    wait_for(lambda: LOG in run.get_file_names() and log_of(run))
    agent.kill()
    assert run.wait_for_completion()["status"] == "Completed"
    assert log_of(run) == "begins\nends\n"


def test_where_runner_and_watch_are_killed_the_agent_ends_the_script(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    start_agent("lost")
    folder = source(tmp_path, "import os, time\nprint(os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)\n")
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="lost"))
    script, runner = map(int, wait_for(lambda: LOG in run.get_file_names() and log_of(run)).split())
    wait_for(lambda: run.get_status() == "Running")
    children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
    for pid in (*(int(child) for child in children if int(child) != script), runner):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: run.get_status() == "Failed")
    assert run.get_details()["error"]["error"]["code"] == "RunnerKilled"
    wait_for(lambda: not Path(f"/proc/{script}").exists())
    wait_for(lambda: not RunFolder.of(run.id).path.exists())


def test_what_a_try_to_start_it_left_is_in_nobodys_way(
    experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    first = start_agent("again")
    first.kill()
    run = experiment.submit(ScriptRunConfig(source(tmp_path, "print('ran')"), "train.py", compute_target="again"))
    os.close(RunFolder.of(run.id).make())
    start_agent("again")
    assert run.wait_for_completion()["status"] == "Completed"
    assert log_of(run) == "ran\n"


def test_the_key_of_an_agent_is_not_in_the_scripts_environment(
    experiment: Experiment, start_agent: StartAgent, agent_key: str, tmp_path: Path
) -> None:
    start_agent("secret")
    folder = source(tmp_path, "import os\nprint(dict(os.environ))\n")
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="secret"))
    run.wait_for_completion()
    assert agent_key not in log_of(run)


def test_a_runs_token_ends_with_it(
    service: ForkedService, experiment: Experiment, start_agent: StartAgent, tmp_path: Path
) -> None:
    start_agent("tokens")
    folder = source(
        tmp_path,
        "import os\nopen('outputs/token', 'w').write(os.environ['MLFLOW_TRACKING_TOKEN'])\n",
    )
    run = experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="tokens"))
    run.wait_for_completion()
    run.download_file("outputs/token", str(tmp_path / "token"))
    token = (tmp_path / "token").read_text()
    asked = ("POST", "/api/2.0/mlflow/runs/search", token, {"experiment_ids": ["0"]})

    def is_refused() -> bool:
        try:
            service.call(*asked)
        except Exception as error:
            return "ended with the run" in _words(error)
        return False

    wait_for(is_refused)


def _words(error: Exception) -> str:
    body = getattr(error, "read", None)
    return body().decode() if callable(body) else str(error)


class TestRefusals:
    def test_an_agent_beside_the_service_must_be_told_that_submitters_are_trusted(
        self, service: ForkedService, agent_key: str
    ) -> None:
        done = subprocess.run(
            [*CLI, "agent", "--url", service.url, "--compute", "beside"],
            env={**os.environ, "AMLSTORE_KEY": agent_key},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert "give --trust-submitters" in done.stderr

    def test_no_pool_has_the_name_of_the_submitters_machine(self, service: ForkedService, agent_key: str) -> None:
        done = subprocess.run(
            [*CLI, "agent", "--url", service.url, "--compute", "local", "--trust-submitters"],
            env={**os.environ, "AMLSTORE_KEY": agent_key},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert "means the machine that submits" in done.stderr

    def test_another_key_doesnt_work(self, service: ForkedService) -> None:
        done = subprocess.run(
            [*CLI, "agent", "--url", service.url, "--compute", "beside", "--trust-submitters"],
            env={**os.environ, "AMLSTORE_KEY": service.key},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert re.search(r"needs an agent's key", done.stderr)

    def test_a_contributor_submits_to_its_own_machine_alone(
        self, service: ForkedService, start_agent: StartAgent, tmp_path: Path
    ) -> None:
        start_agent("right")
        key = service.call(
            "POST", "/auth/keys", service.exchange(service.key), {"name": "contributor", "role": "contributor"}
        )["key"]
        experiment = Experiment(Workspace.from_url(service.url, KeyCredential(service.url, key)), "contributed")
        folder = source(tmp_path, "print('ran')\n")
        with pytest.raises(ServiceError, match="needs the role submitter"):
            experiment.submit(ScriptRunConfig(folder, "train.py", compute_target="right"))
        run = experiment.submit(ScriptRunConfig(folder, "train.py"))
        assert run.wait_for_completion()["status"] == "Completed"

    def test_a_tracking_uri_cant_submit(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("AMLSTORE_KEY", raising=False)
        script = (
            "import sys\n"
            "from mlflow_amlstore.core import Experiment, ScriptRunConfig, Workspace\n"
            "from mlflow_amlstore.errors import LoginNeeded\n"
            "experiment = Experiment(Workspace.from_tracking_uri(sys.argv[1]), 'by uri')\n"
            "try:\n"
            "    experiment.submit(ScriptRunConfig(sys.argv[2], 'train.py'))\n"
            "except LoginNeeded as error:\n"
            "    print('refused', error)\n"
        )
        folder = source(tmp_path, "print('ran')\n")
        done = subprocess.run(
            [sys.executable, "-c", script, workspace.get_mlflow_tracking_uri(), folder], capture_output=True, text=True
        )
        assert done.stdout.startswith("refused"), done.stderr

    def test_a_pool_isnt_made_by_who_submits(self, workspace: Workspace) -> None:
        with pytest.raises(ServiceError, match="an agent makes its own pool"):
            workspace.records.compute_targets.put("made up", "Agents", 1, {})
