"""`amlstore submit`, `logs`, `watch`, `queue` and `cancel`: scripts as runs, from a terminal."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fork_server
import pytest
from fork_server import ForkedProcess
from waiting import wait_for

from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.core.compute import AmlCompute, ComputeTarget
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.types import (
    MACHINE_PROPERTY,
    RUN_TYPE_PROPERTY,
    RUNS_FOLDER_PROPERTY,
    SCRIPT_RUN,
    RunStatus,
)
from mlflow_amlstore.runner.launch import runs_folder_id
from mlflow_amlstore.runner.preparation_log import node_name
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

from .conftest import ENVIRONMENT, Amlstore

LOG = "user_logs/std_log.txt"
PREPARATION = f"azureml-logs/65_job_prep-{node_name()}.txt"
WAIT = (
    "import os, sys, time\nprint('begun')\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\nprint('gone on')\n"
)
"""A script that goes on until there is a file, whose path it is given."""
Follow = Callable[..., ForkedProcess]


@pytest.fixture
def opened(workspace: EmbeddedWorkspace) -> Iterator[Workspace]:
    """The workspace that the commands look into. Runs that a test leaves are canceled."""
    opened = Workspace.from_tracking_uri(workspace.root_uri)
    yield opened
    for record in workspace.records.runs.search(None).items:
        run = opened.get_run(record.info.run_id)
        if isinstance(run, ScriptRun):
            run.cancel()
            run.wait_for_completion(raise_on_error=False)
    opened.close()


@pytest.fixture
def submit(amlstore: Amlstore, opened: Workspace, tmp_path: Path) -> Callable[..., Run]:
    """Write `source/train.py`, and submit it with arguments and options."""

    def submit(script: str, *arguments: str, options: tuple[str, ...] = ()) -> Run:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(script)
        result = amlstore("submit", str(folder), "train.py", *options, "--", *arguments)
        assert result.exit_code == 0, result.err
        return opened.get_run(result.out.splitlines()[0])

    return submit


@pytest.fixture
def follow(workspace: EmbeddedWorkspace) -> Iterator[Follow]:
    """Start `amlstore ARGUMENTS`, whose output is read while it goes on."""
    started = []

    def start(*arguments: str) -> ForkedProcess:
        command = [*fork_server.AMLSTORE, *arguments]
        process = ForkedProcess(
            command, cwd=workspace.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.__exit__()


def read_line(process: ForkedProcess) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def read_until(process: ForkedProcess, line: str) -> None:
    while (read := read_line(process)) != line:
        assert read != ""


class TestSubmit:
    def test_the_first_line_is_the_runs_id_and_arguments_arrive_as_they_are(
        self, amlstore: Amlstore, opened: Workspace, tmp_path: Path
    ) -> None:
        (tmp_path / "iris").mkdir()
        (tmp_path / "iris" / "train.py").write_text("import sys; print(sys.argv[1:])")
        given = ["--alpha", "0.1", "a b", 'it\'s "quoted"', "two\nlines", "", "$HOME", "--", "Żółć"]
        result = amlstore("submit", str(tmp_path / "iris"), "train.py", "--", *given)
        run_id = result.out.strip()
        assert (result.exit_code, result.out) == (0, f"{run_id}\n")
        assert result.err == f"Submitted to experiment iris. `amlstore watch {run_id}` shows it\n"
        assert opened.get_run(run_id).wait_for_completion()["status"] == "Completed"
        assert amlstore("logs", run_id).out == f"{given}\n"

    def test_experiment_name_tags_and_compute_are_the_runs(self, submit: Callable[..., Run], opened: Workspace) -> None:
        ComputeTarget.create(opened, "cpu", AmlCompute.provisioning_configuration())
        options = ("-e", "iris", "--name", "first try", "--tag", "stage=try", "--tag", "x=a=b", "--compute", "cpu")
        run = submit("", options=options)
        details = run.wait_for_completion()
        assert (run.experiment.name, run.name, run.get_tags()) == ("iris", "first try", {"stage": "try", "x": "a=b"})
        assert details["target"] == "cpu"

    def test_several_processes_know_their_ranks(self, submit: Callable[..., Run], amlstore: Amlstore) -> None:
        run = submit(
            "import os; print(os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])", options=("--processes", "2")
        )
        run.wait_for_completion()
        assert amlstore("logs", run.id).out == "0 of 2\n"  # the first one's
        assert amlstore("logs", run.id, "--file", "user_logs/std_log_process_1.txt").out == "1 of 2\n"

    @pytest.mark.parametrize(
        ("script", "exit_code", "said"),
        [("", 0, "is Completed"), ("import sys; sys.exit(3)", 1, "is Failed: The script ended with exit code 3.")],
        ids=["completed", "failed"],
    )
    def test_followed_its_outcome_is_the_exit_code(
        self, amlstore: Amlstore, opened: Workspace, tmp_path: Path, script: str, exit_code: int, said: str
    ) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "train.py").write_text(f"print('epoch 1')\n{script}")
        result = amlstore("submit", "source", "train.py", "--name", "x", "-w", "ws", "-f", folder=tmp_path)
        run_id, *log = result.out.splitlines()
        *preparation, named, ended = result.err.splitlines()
        assert preparation[0] == f"==> {PREPARATION} <=="
        assert "Started the script" in preparation[-1]
        assert (named, ended) == (f"==> {LOG} <==", f"run {run_id} (x) {said}")
        assert (result.exit_code, log) == (exit_code, ["epoch 1"])

    def test_on_interrupt_the_run_goes_on(self, follow: Follow, opened: Workspace, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "train.py").write_text(WAIT)
        process = follow("submit", str(tmp_path / "source"), "train.py", "--follow", "--", str(tmp_path / "go"))
        run = opened.get_run(read_line(process).strip())
        read_until(process, f"==> {LOG} <==\n")
        assert read_line(process) == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stdout is not None
        assert process.stdout.read() == f"\nThe run goes on. `amlstore cancel {run.id}` ends it\n"
        (tmp_path / "go").touch()
        assert run.wait_for_completion()["status"] == "Completed"

    def test_env_is_a_file_of_packages_or_a_python(self, submit: Callable[..., Run], tmp_path: Path) -> None:
        files = {
            "env.yml": "name: e\ndependencies:\n- pip:\n  - azureml-core\n",
            "packages.txt": "azureml-mlflow\n",
            "pyproject.toml": "[project]\ndependencies = ['azureml-defaults']\n",
        }
        packages = {}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            if name == "pyproject.toml" and sys.version_info < (3, 11):
                pytest.importorskip("tomli")
            run = submit("", options=("--env", str(tmp_path / name)))
            environment = run.get_details()["runDefinition"]["environment"]
            assert (environment["name"], environment["python"]["userManagedDependencies"]) == (name, False)
            packages[name] = environment["python"]["condaDependencies"]["dependencies"][-1]["pip"]
        assert packages == {
            "env.yml": ["azureml-core"],
            "packages.txt": ["azureml-mlflow"],
            "pyproject.toml": ["azureml-defaults"],
        }
        link = tmp_path / "python of its own"
        link.symlink_to(sys.executable)
        python = submit("", options=("--env", str(link))).get_details()["runDefinition"]["environment"]["python"]
        assert (python["userManagedDependencies"], python["interpreterPath"]) == (True, str(link))

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "problem"),
        [
            (["nowhere", "train.py"], 2, "Invalid value 'nowhere' for source_directory"),
            ([".", "other.py"], 2, "other.py script path doesn't exist"),
            ([".", "train.py", "--env", "nothing"], 2, "Invalid value 'nothing' for --env: must be a conda"),
            ([".", "train.py", "--env", "no.yml"], 2, "no.yml"),
            ([".", "train.py", "--tag", "stage"], 2, "Invalid value 'stage' for --tag: must be NAME=VALUE"),
            ([".", "train.py", "--alpha", "1"], 2, "The script's own options stand after `--`."),
        ],
    )
    def test_a_slip_makes_no_run_and_no_experiment(
        self, amlstore: Amlstore, tmp_path: Path, arguments: list[str], exit_code: int, problem: str
    ) -> None:
        (tmp_path / "train.py").write_text("")
        result = amlstore("submit", *arguments, "-w", str(tmp_path / "ws"), folder=tmp_path)
        assert (result.exit_code, result.out) == (exit_code, "")
        assert problem in result.err
        assert [row[1] for row in amlstore("experiments").rows[1:]] == ["Default"]


class TestLogs:
    def test_the_bytes_are_printed_as_they_are(
        self, submit: Callable[..., Run], workspace: EmbeddedWorkspace, tmp_path: Path
    ) -> None:
        written = b"\xff\xfe\x00\r50 %\r100 %\n\x1b[31mred\n" + b"x" * 300_000
        run = submit(f"import sys; sys.stdout.buffer.write({written[:-300_000]!r} + b'x' * 300_000)")
        run.wait_for_completion()
        with (tmp_path / "printed").open("wb") as printed:
            command = [*fork_server.AMLSTORE, "logs", run.id[:-2]]
            assert ForkedProcess(command, cwd=workspace.folder, env=ENVIRONMENT, stdout=printed.fileno()).wait() == 0
        assert (tmp_path / "printed").read_bytes() == written

    def test_followed_lines_come_until_the_run_has_ended(
        self, submit: Callable[..., Run], follow: Follow, tmp_path: Path
    ) -> None:
        run = submit(WAIT, str(tmp_path / "go"))
        process = follow("logs", "-f", run.id)
        assert read_line(process) == f"==> {PREPARATION} <==\n"
        read_until(process, f"==> {LOG} <==\n")
        assert read_line(process) == "begun\n"
        assert run.get_status() == "Running"
        (tmp_path / "go").touch()
        assert [read_line(process), read_line(process)] == ["gone on\n", ""]
        assert process.wait() == 0
        assert run.get_status() == "Completed"

    def test_an_interrupt_ends_it_quietly_and_leaves_the_run_alone(
        self, submit: Callable[..., Run], follow: Follow, tmp_path: Path
    ) -> None:
        run = submit(WAIT, str(tmp_path / "go"))
        process = follow("logs", "-f", run.id, "--file", LOG)
        assert read_line(process) == "begun\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(), read_line(process)) == (130, "")
        assert run.get_status() == "Running"

    def test_a_run_of_another_kind_has_all_its_logs_printed(
        self, workspace: EmbeddedWorkspace, opened: Workspace, amlstore: Amlstore, tmp_path: Path
    ) -> None:
        workspace.records.runs.create("0", run_id="other")
        run = opened.get_run("other")
        for path in ("logs/train.txt", "logs/deep/more.txt", "outputs/model.txt"):
            (tmp_path / "file").write_text(f"{path}\n")
            run.upload_file(path, tmp_path / "file")
        result = amlstore("logs", "oth")
        assert result.out == "logs/deep/more.txt\nlogs/train.txt\n"
        assert result.err == "==> logs/deep/more.txt <==\n==> logs/train.txt <==\n"
        assert amlstore("logs", "other", "--file", "outputs/model.txt").out == "outputs/model.txt\n"
        missing = amlstore("logs", "other", "--file", "outputs/none.txt")
        assert (missing.exit_code, missing.out) == (1, "")
        assert missing.err == (
            "amlstore: File of run other 'outputs/none.txt' not found. `amlstore show other` lists its files\n"
        )

    def test_a_job_of_azure_ml_has_its_drivers_log_printed(
        self, workspace: EmbeddedWorkspace, opened: Workspace, amlstore: Amlstore, tmp_path: Path
    ) -> None:
        workspace.records.runs.create("0", run_id="older")
        run = opened.get_run("older")
        for path in (
            "logs/azureml/110_azureml.log",
            "azureml-logs/70_driver_log.txt",
            "azureml-logs/65_job_prep-0.txt",
        ):
            (tmp_path / "file").write_text(f"{path}\n")
            run.upload_file(path, tmp_path / "file")
        result = amlstore("logs", "older")
        assert result.out == "azureml-logs/70_driver_log.txt\n"
        assert "==> azureml-logs/65_job_prep-0.txt <==\nazureml-logs/65_job_prep-0.txt\n" in result.err

    def test_a_run_without_logs_has_none_to_print(self, workspace: EmbeddedWorkspace, amlstore: Amlstore) -> None:
        workspace.records.runs.create("0", run_id="silent")
        result = amlstore("logs", "silent")
        assert (result.exit_code, result.out) == (1, "")
        assert "Log of run silent '*' not found" in result.err


class TestCancel:
    def test_each_is_told_and_waited_for(self, submit: Callable[..., Run], amlstore: Amlstore, tmp_path: Path) -> None:
        ended = submit("", options=("--name", "ended"))
        ended.wait_for_completion()
        runs = [submit(WAIT, str(tmp_path / "never"), options=("--name", f"run {number}")) for number in range(2)]
        result = amlstore("cancel", "--wait", *[run.id for run in (ended, *runs)])
        assert (result.exit_code, result.err) == (0, "")
        assert result.out.splitlines() == [
            f"Had ended already: run {ended.id} (ended) is Completed",
            *[f"Canceling run {run.id} (run {number})" for number, run in enumerate(runs)],
            *[f"Ended: run {run.id} (run {number}) is Canceled" for number, run in enumerate(runs)],
        ]

    def test_a_slip_in_one_cancels_none(self, submit: Callable[..., Run], amlstore: Amlstore, tmp_path: Path) -> None:
        run = submit(WAIT, str(tmp_path / "go"))
        assert amlstore("cancel", run.id, "nothing").exit_code == 1
        (tmp_path / "go").touch()
        assert run.wait_for_completion()["status"] == "Completed"

    def test_a_deleted_run_that_goes_on_is_refused_until_it_is_restored(
        self, submit: Callable[..., Run], amlstore: Amlstore, tmp_path: Path
    ) -> None:
        run = submit(WAIT, str(tmp_path / "never"))
        assert amlstore("delete", run.id).exit_code == 0
        result = amlstore("cancel", run.id)
        assert (result.exit_code, result.out) == (1, "")
        assert f"The run {run.id} must be in the 'active' state" in result.err
        assert amlstore("restore", run.id).exit_code == 0
        assert amlstore("cancel", "--wait", run.id).out.endswith(" is Canceled\n")

    def test_a_run_that_wasnt_submitted_is_marked(
        self, workspace: EmbeddedWorkspace, opened: Workspace, amlstore: Amlstore
    ) -> None:
        workspace.records.runs.create("0", run_id="interactive", name="by hand", status=RunStatus.RUNNING)
        assert amlstore("cancel", "interactive").out == (
            "Marked Canceled: run interactive (by hand). It wasn't submitted: a process that logs into it goes on\n"
        )
        assert opened.get_run("interactive").get_status() == "Canceled"


class TestQueue:
    def test_what_waits_has_a_position_and_what_has_ended_is_gone(
        self, submit: Callable[..., Run], amlstore: Amlstore, opened: Workspace, tmp_path: Path
    ) -> None:
        slots = 2
        compute = tmp_path.name  # whose slots no other test takes
        ComputeTarget.create(opened, compute, AmlCompute.provisioning_configuration(max_nodes=slots))
        options = ("--compute", compute, "-e", "iris")
        runs = []
        for _ in range(slots + 2):
            runs.append(submit(WAIT, str(tmp_path / "go"), options=options))
            wait_for(lambda: runs[-1].get_status() in ("Running", "Queued"))
        header, *rows = amlstore("queue").rows
        assert header == ["compute", "position", "run_id", "name", "experiment", "status", "since"]
        states = [("", "Running")] * slots + [("1", "Queued"), ("2", "Queued")]
        assert [(row[0], row[1], row[2], row[4], row[5]) for row in rows] == [
            (compute, position, run.id, "iris", status) for run, (position, status) in zip(runs, states, strict=True)
        ]
        listed = json.loads(amlstore("queue", "--json").out)
        assert [entry["position"] for entry in listed] == [None] * slots + [1, 2]
        assert set(listed[0]) == {"run_id", "name", "experiment", "compute", "status", "position", "since_ms"}
        (tmp_path / "go").touch()
        for run in runs:
            run.wait_for_completion()
        assert amlstore("queue").rows == [header]

    def test_a_run_that_nobody_looks_after_any_more_is_not_in_it(
        self, workspace: EmbeddedWorkspace, opened: Workspace, amlstore: Amlstore
    ) -> None:
        properties = {
            RUN_TYPE_PROPERTY: SCRIPT_RUN,
            MACHINE_PROPERTY: this_machine(),
            RUNS_FOLDER_PROPERTY: runs_folder_id(),
        }
        workspace.records.runs.create(
            "0", run_id="dead", status=RunStatus.RUNNING, properties=properties, definition={"target": "local"}
        )
        assert amlstore("queue", "--json").out == "[]\n"
        assert opened.get_run("dead").get_status() == "Failed"


class TestWatch:
    SCRIPT = (
        "from azureml.core.run import Run\n"
        "run = Run.get_context()\n"
        "for step in range(8): run.log('loss', step)\n"
        "run.log('[red]', 0.5)\n"
        "print('\\r10 %\\r100 %\\r\\n\\033[31mred\\033[0m \\u202eturned')\n"
        "print('[bold]last[/bold]', end='')\n"
    )
    SHOWN = ("100 %", "\\x1b[31mred\\x1b[0m \\u202eturned", "[bold]last[/bold]")

    def test_in_a_pipe_there_is_a_line_for_each_status_and_line_of_the_log(
        self, submit: Callable[..., Run], amlstore: Amlstore
    ) -> None:
        run = submit(self.SCRIPT)
        result = amlstore("watch", run.id)
        assert (result.exit_code, result.err) == (0, "")
        lines = result.out.splitlines()
        shown = [line for line in lines if not line.startswith("Status: ")]
        assert shown[shown.index(self.SHOWN[0]) :] == [
            *self.SHOWN,
            "metric\tlatest\tstep",
            "[red]\t0.5\t0",
            "loss\t7\t7",
        ]
        assert [line for line in lines if line.startswith("Status: ")][-1] == "Status: Completed"

    def test_on_a_terminal_the_last_that_is_seen_stays(
        self, submit: Callable[..., Run], amlstore_on_terminal: Callable[..., str]
    ) -> None:
        run = submit(self.SCRIPT, options=("--name", "drawn"))
        run.wait_for_completion()
        name, status, *rest = [line.rstrip() for line in amlstore_on_terminal("watch", run.id).splitlines()][-10:]
        assert name == f"run {run.id} (drawn), experiment source"
        assert status.startswith("Completed after ")
        assert rest == ["", "[red]  0.5  ▅", "loss   7    ▁▂▃▄▅▆▇█", "", LOG, *self.SHOWN]

    def test_on_a_narrow_terminal_names_and_drawings_are_cut_and_values_are_not(
        self, submit: Callable[..., Run], amlstore_on_terminal: Callable[..., str]
    ) -> None:
        logs = "for step in range(30): mlflow.log_metric('longer_than_half_of_such_a_terminal', 0.123456, step)"
        run = submit(f"import mlflow\n{logs}\n")
        run.wait_for_completion()
        shown = amlstore_on_terminal("watch", run.id, columns=40)
        assert "  0.123456  " in shown
        assert max(map(len, shown.splitlines())) <= 40

    def test_it_shows_why_a_run_failed(self, submit: Callable[..., Run], amlstore: Amlstore) -> None:
        result = amlstore("watch", submit("import sys; sys.exit(3)", options=("--name", "x")).id)
        assert result.exit_code == 0
        assert result.err.endswith("(x) is Failed: The script ended with exit code 3\n")

    def test_an_interrupt_leaves_the_run_alone(
        self, submit: Callable[..., Run], follow: Follow, tmp_path: Path
    ) -> None:
        run = submit(WAIT, str(tmp_path / "go"))
        process = follow("watch", run.id)
        while read_line(process) != "begun\n":
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        (tmp_path / "go").touch()
        assert run.wait_for_completion()["status"] == "Completed"
