"""Runs whose processes are gone are found and marked Failed, and no others."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from fork_server import AMLSTORE, ForkedProcess, run_forked
from forked_service import ForkedService
from mlflow import MlflowClient
from waiting import wait_for

from mlflow_amlstore.core import Experiment, Run, ScriptRunConfig, Workspace
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.process_lock import FOLDER_NAME
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import (
    MACHINE_PROPERTY,
    PROCESS_ENDED,
    RUNS_FOLDER_PROPERTY,
    RunError,
    RunInfo,
    RunStatus,
)
from mlflow_amlstore.runner.deaths import mark_dead, remove_unused_locks
from mlflow_amlstore.runner.launch import RunFolder, runs_folder_id
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace, open_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no flock")

KILLS = 10
BEGIN = """
import os, signal, sys, time
import mlflow
from mlflow import MlflowClient
from mlflow_amlstore.core import Experiment, Run, Workspace
uri, arguments = sys.argv[1], sys.argv[2:]
mlflow.set_tracking_uri(uri)

def experiment():
    return Experiment(Workspace.from_tracking_uri(uri), "iris")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def sleep():
    while True:
        time.sleep(60)
"""
CORE = """
run = experiment().start_logging(snapshot_directory=None, outputs=False)
run.log("loss", 0.5)
run.flush()
say(run.id)
sleep()
"""
FLUENT = """
run = mlflow.start_run()
mlflow.log_metric("loss", 0.5)
say(run.info.run_id)
sleep()
"""
Start = Callable[..., ForkedProcess]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[EmbeddedWorkspace]:
    opened = create_workspace(tmp_path / "workspace")
    yield opened
    opened.close()


@pytest.fixture
def records(workspace: EmbeddedWorkspace) -> RecordStore:
    return workspace.records


@pytest.fixture
def start(workspace: EmbeddedWorkspace, tmp_path: Path) -> Iterator[Start]:
    """Starts a script in a process of its own, which is killed if it is left."""
    started: list[ForkedProcess] = []

    def start(script: str, *arguments: str) -> ForkedProcess:
        command = ["-c", BEGIN + script, workspace.root_uri, *arguments]
        started.append(ForkedProcess(command, cwd=tmp_path, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def words(process: ForkedProcess) -> list[str]:
    """What a script says next."""
    assert process.stdout is not None
    return process.stdout.readline().split()


def kill(process: ForkedProcess) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def info(records: RecordStore, run_id: str) -> RunInfo:
    return records.runs.get(run_id).info


def lock_files(records: RecordStore) -> list[Path]:
    folder = records.folder / FOLDER_NAME
    return list(folder.iterdir()) if folder.exists() else []


def finished(workspace: EmbeddedWorkspace, script: str, tmp_path: Path) -> list[str]:
    """What a script said that has ended as it should."""
    done = run_forked(["-c", BEGIN + script, workspace.root_uri], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def assert_failed(records: RecordStore, run_id: str) -> None:
    run = info(records, run_id)
    assert run.status is RunStatus.FAILED
    assert run.error == RunError(PROCESS_ENDED, "The process ended without completing it")


class TestKilled:
    @pytest.mark.parametrize("script", [CORE, FLUENT], ids=["core", "fluent"])
    def test_its_run_has_failed_at_the_next_look_and_keeps_its_values(
        self, start: Start, records: RecordStore, script: str
    ) -> None:
        for _ in range(KILLS):
            process = start(script)
            (run_id,) = words(process)
            assert mark_dead(records) == []
            kill(process)
            assert mark_dead(records) == [run_id]
            assert_failed(records, run_id)
            found = records.runs.get(run_id)
            assert [(point.name, point.value) for point in found.metrics] == [("loss", 0.5)]
            assert found.info.end_ms == max(found.info.start_ms or 0, *(point.timestamp_ms for point in found.metrics))
        assert lock_files(records) == []

    def test_a_forked_child_that_lives_on_holds_nothing(self, start: Start, records: RecordStore) -> None:
        script = """
import multiprocessing
run = mlflow.start_run()
with_ = multiprocessing.get_context("fork").Process(target=sleep)
with_.start()
child = os.fork()
if child == 0:
    sleep()
say(run.info.run_id, with_.pid, child)
sleep()
"""
        for _ in range(KILLS):
            process = start(script)
            run_id, *children = words(process)
            kill(process)
            try:
                wait_for(lambda: mark_dead(records))  # a child may not have run yet
                assert_failed(records, run_id)
            finally:
                for child in map(int, children):
                    os.kill(child, signal.SIGKILL)  # it is alive

    def test_a_forked_childs_own_runs_are_its_own(self, start: Start, records: RecordStore) -> None:
        process = start(
            """
mine = mlflow.start_run()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, MlflowClient().create_run("0").info.run_id.encode())
    sleep()
say(mine.info.run_id, os.read(reading, 100).decode(), child)
sleep()
"""
        )
        mine, its, child = words(process)
        os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: mark_dead(records) == [its])
        assert info(records, mine).status is RunStatus.RUNNING
        kill(process)
        assert mark_dead(records) == [mine]

    def test_all_that_it_left_has_failed_and_what_had_ended_stays(self, start: Start, records: RecordStore) -> None:
        process = start(
            """
parent = experiment().start_logging(snapshot_directory=None, outputs=False)
children = parent.create_children(count=2)
children[0].complete()
say(parent.id, *[child.id for child in children])
sleep()
"""
        )
        parent, completed, going = words(process)
        kill(process)
        assert sorted(mark_dead(records)) == sorted([parent, going])
        assert info(records, completed).status is RunStatus.COMPLETED

    def test_an_exception_that_ends_the_program_is_such_an_end(
        self, start: Start, records: RecordStore, capfd: pytest.CaptureFixture[str]
    ) -> None:
        process = start("say(MlflowClient().create_run('0').info.run_id)\nraise ValueError('broken data')\n")
        (run_id,) = words(process)
        assert process.wait() == 1
        assert mark_dead(records) == [run_id]
        assert "broken data" in capfd.readouterr().err

    def test_so_is_the_end_of_an_interactive_session(self, start: Start, records: RecordStore) -> None:
        process = start("sys.ps1 = 'In : '  # as a notebook's kernel has it\n" + CORE.replace("sleep()", ""))
        (run_id,) = words(process)
        assert process.wait() == 0
        assert mark_dead(records) == [run_id]

    def test_a_run_that_goes_on_afterwards_has_no_error_any_more(self, start: Start, records: RecordStore) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        kill(process)
        mark_dead(records)
        with mlflow_pointed_at(f"amlstore://{records.folder}"):
            with mlflow.start_run(run_id=run_id):
                assert mark_dead(records) == []
            assert MlflowClient().get_run(run_id).info.status == "FINISHED"
        assert info(records, run_id).error is None

    def test_many_who_look_at_once_mark_it_once(self, start: Start, records: RecordStore, tmp_path: Path) -> None:
        look = """
from pathlib import Path
from mlflow_amlstore.runner.deaths import mark_dead
from mlflow_amlstore.workspace.opening import open_workspace
records = open_workspace(uri).records
say("ready")
while not Path(arguments[0]).exists():
    time.sleep(0.001)
say("found", *mark_dead(records))
"""
        process = start(CORE)
        (run_id,) = words(process)
        looking = [start(look, str(tmp_path / "go")) for _ in range(4)]
        assert [words(other) for other in looking] == [["ready"]] * 4
        kill(process)
        (tmp_path / "go").touch()
        with ThreadPoolExecutor(4) as pool:
            found = [each for marked in pool.map(lambda _: mark_dead(records), range(16)) for each in marked]
        for other in looking:
            found += words(other)[1:]
        assert found == [run_id]
        assert_failed(records, run_id)


class TestNotMarked:
    def test_a_run_that_a_script_left_open_as_it_ended(
        self, workspace: EmbeddedWorkspace, records: RecordStore, tmp_path: Path
    ) -> None:
        created, logging = finished(
            workspace,
            "say(MlflowClient().create_run('0').info.run_id)\n"
            "say(experiment().start_logging(snapshot_directory=None, outputs=False).id)\n",
            tmp_path,
        )
        assert mark_dead(records) == []
        assert {info(records, run_id).status for run_id in (created, logging)} == {RunStatus.RUNNING}
        assert lock_files(records) == []
        MlflowClient(workspace.root_uri).log_metric(created, "loss", 0.5)  # as another script goes on with it

    def test_a_run_of_a_workspace_that_its_process_closed(self, start: Start, records: RecordStore) -> None:
        process = start(CORE.replace("say(", "run.experiment.workspace.close()\nsay("))
        (run_id,) = words(process)
        kill(process)
        assert mark_dead(records) == []
        assert info(records, run_id).status is RunStatus.RUNNING
        assert lock_files(records) == []

    def test_a_script_that_completes_its_runs_leaves_nothing(
        self, workspace: EmbeddedWorkspace, records: RecordStore, tmp_path: Path
    ) -> None:
        finished(workspace, "with mlflow.start_run(): mlflow.log_metric('loss', 0.5)\n", tmp_path)
        assert lock_files(records) == []

    def test_a_run_that_a_worker_left_open(
        self, workspace: EmbeddedWorkspace, records: RecordStore, tmp_path: Path
    ) -> None:
        script = """
import multiprocessing
def work(_):
    return experiment().start_logging(snapshot_directory=None, outputs=False).id

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:  # which ends it by SIGTERM
        say(*pool.map(work, range(2)))
    process = context.Process(target=lambda: say(work(0)))
    process.start()
    process.join()
"""
        run_ids = finished(workspace, script, tmp_path)
        assert len(run_ids) == 3
        assert mark_dead(records) == []
        assert {info(records, run_id).status for run_id in run_ids} == {RunStatus.RUNNING}

    def test_a_run_whose_process_was_told_to_end(self, start: Start, records: RecordStore) -> None:
        process = start(CORE)
        (run_id,) = words(process)
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
        assert mark_dead(records) == []
        assert info(records, run_id).status is RunStatus.RUNNING

    def test_a_run_of_a_live_process_that_reads_all_files_of_its_workspace(
        self, start: Start, records: RecordStore, tmp_path: Path
    ) -> None:
        process = start(
            """
import shutil
run = mlflow.start_run()
shutil.copytree(arguments[0], arguments[1])  # opens and closes the file that it has locked
say(run.info.run_id)
sleep()
""",
            str(records.folder),
            str(tmp_path / "copy"),
        )
        (run_id,) = words(process)
        assert mark_dead(records) == []
        assert info(records, run_id).status is RunStatus.RUNNING

    def test_a_run_that_a_live_process_resumed(self, start: Start, records: RecordStore) -> None:
        first = start(FLUENT)
        (run_id,) = words(first)
        second = start("say(mlflow.start_run(run_id=arguments[0]).info.run_id)\nsleep()\n", run_id)
        words(second)
        kill(first)
        assert mark_dead(records) == []
        assert info(records, run_id).status is RunStatus.RUNNING
        kill(second)
        assert mark_dead(records) == [run_id]

    def test_a_run_that_a_client_of_a_service_goes_on_with(self, start: Start, records: RecordStore) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        records.runs.update(run_id, status=RunStatus.RUNNING)  # which is what the service writes
        kill(process)
        assert mark_dead(records) == []

    def test_a_run_that_a_service_keeps_for_a_client(self, tmp_path: Path) -> None:
        with ForkedService(tmp_path / "service") as service:
            run = MlflowClient(service.tracking_uri).create_run("0")
            service.kill()
            records = open_folder(service.folder).records
            assert mark_dead(records) == []
            assert info(records, run.info.run_id).status is RunStatus.RUNNING

    @pytest.mark.parametrize("elsewhere", ["other-host {1} {2}", "{0} other-machine {2}", "{0} - other-start"])
    def test_a_run_of_another_machine(self, start: Start, records: RecordStore, elsewhere: str) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        kill(process)
        (lock,) = lock_files(records)
        lock.write_text(elsewhere.format(*this_machine().split()))
        assert mark_dead(records) == []
        remove_unused_locks(records)
        assert lock.exists()
        assert info(records, run_id).status is RunStatus.RUNNING

    def test_a_run_whose_lock_somebody_removed(self, start: Start, records: RecordStore) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        shutil.rmtree(records.folder / FOLDER_NAME)
        assert mark_dead(records) == []
        assert info(records, run_id).status is RunStatus.RUNNING

    def test_nothing_inside_a_transaction_which_may_yet_fail(self, start: Start, records: RecordStore) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        kill(process)
        with records.transaction():
            assert mark_dead(records) == []
        assert mark_dead(records) == [run_id]


class TestRestartedMachine:
    def before(self) -> str:
        host, machine, boot = this_machine().split()
        if "-" in (machine, boot):
            pytest.skip("this machine's starts aren't numbered")
        return f"{host} {machine} another-start"

    def test_what_went_on_before_has_failed(self, start: Start, records: RecordStore) -> None:
        process = start(FLUENT)
        (run_id,) = words(process)
        kill(process)
        (lock,) = lock_files(records)
        lock.write_text(self.before())
        assert mark_dead(records) == [run_id]
        error = info(records, run_id).error
        assert error is not None
        assert error.message.endswith("the machine was restarted")

    def test_so_has_a_submitted_script(self, records: RecordStore) -> None:
        properties = {MACHINE_PROPERTY: self.before(), RUNS_FOLDER_PROPERTY: "another"}
        records.runs.create("0", run_id="submitted", properties=properties)
        assert mark_dead(records) == ["submitted"]


class TestScripts:
    @pytest.fixture
    def experiment(self, workspace: EmbeddedWorkspace) -> Experiment:
        return Experiment(Workspace.from_tracking_uri(workspace.root_uri), "iris")

    @pytest.fixture
    def submitted(self, experiment: Experiment, tmp_path: Path) -> Callable[[str], Run]:
        def submit(script: str) -> Run:
            folder = tmp_path / "source"
            folder.mkdir()
            (folder / "train.py").write_text(script)
            return experiment.submit(ScriptRunConfig(str(folder), "train.py"))

        return submit

    def test_one_whose_runner_and_watch_were_killed_has_failed(
        self, submitted: Callable[[str], Run], records: RecordStore
    ) -> None:
        run = submitted("import os, time\nprint(os.getppid(), os.getpid(), flush=True)\ntime.sleep(600)\n")
        log = "user_logs/std_log.txt"
        wait_for(lambda: log in run.get_file_names() and len(text_of(records, run, log).split()) == 2)
        assert mark_dead(records) == []
        runner, script = map(int, text_of(records, run, log).split())
        children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
        for pid in {runner, script, *map(int, children)}:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: mark_dead(records) == [run.id])
        assert text_of(records, run, log).split() == [str(runner), str(script)]
        assert not RunFolder.of(run.id).path.exists()

    def test_what_it_resumes_stays_its_runners(self, submitted: Callable[[str], Run], records: RecordStore) -> None:
        run = submitted("import mlflow\nmlflow.start_run()\nmlflow.log_metric('loss', 0.5)\n")
        run.wait_for_completion()
        assert lock_files(records) == []

    def test_another_users_is_left_to_that_one(self, records: RecordStore) -> None:
        properties = {MACHINE_PROPERTY: this_machine(), RUNS_FOLDER_PROPERTY: "another"}
        records.runs.create("0", run_id="submitted", properties=properties)
        assert mark_dead(records) == []

    def test_one_that_nobody_looks_after_has_failed(self, records: RecordStore) -> None:
        properties = {MACHINE_PROPERTY: this_machine(), RUNS_FOLDER_PROPERTY: runs_folder_id()}
        records.runs.create("0", run_id="submitted", properties=properties)
        assert mark_dead(records) == ["submitted"]
        assert mark_dead(records) == []

    def test_one_that_goes_on_after_its_end_is_of_the_process_that_resumed_it(
        self, records: RecordStore, start: Start
    ) -> None:
        properties = {MACHINE_PROPERTY: this_machine(), RUNS_FOLDER_PROPERTY: runs_folder_id()}
        records.runs.create("0", run_id="submitted", properties=properties)
        records.runs.update("submitted", status=RunStatus.COMPLETED, end_ms=1)
        process = start("say(mlflow.start_run(run_id='submitted').info.run_id)\nsleep()\n")
        words(process)
        assert mark_dead(records) == []
        kill(process)
        assert mark_dead(records) == ["submitted"]


class TestWhoLooks:
    @pytest.fixture
    def killed(self, start: Start) -> str:
        process = start(CORE)
        (run_id,) = words(process)
        kill(process)
        return run_id

    def test_whoever_asks_for_the_status(self, killed: str, workspace: EmbeddedWorkspace) -> None:
        assert Workspace.from_tracking_uri(workspace.root_uri).get_run(killed).get_status() == "Failed"

    def test_whoever_lists_runs(self, killed: str, workspace: EmbeddedWorkspace) -> None:
        opened = Workspace.from_tracking_uri(workspace.root_uri)
        assert [run._info.status for run in Experiment(opened, "iris").get_runs()] == [RunStatus.FAILED]

    def test_a_command(self, killed: str, records: RecordStore, tmp_path: Path) -> None:
        command = [*AMLSTORE, "runs", "--workspace", str(records.folder), "--columns", "run_id,status"]
        done = run_forked(command, cwd=tmp_path, check=True)
        assert done.stdout.split()[-2:] == [killed, "Failed"]

    def test_whoever_searches_with_mlflow(self, killed: str, workspace: EmbeddedWorkspace) -> None:
        with mlflow_pointed_at(workspace.root_uri):
            (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
        assert found.info.status == "FAILED"

    @pytest.mark.parametrize("command", [("serve", "--port", "0"), ("studio", "--no-open")], ids=["service", "studio"])
    def test_a_service_and_studio_without_being_asked(
        self, command: Sequence[str], start: Start, records: RecordStore, tmp_path: Path
    ) -> None:
        name, *options = command
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        with ForkedProcess(
            [*AMLSTORE, name, str(records.folder), *options], cwd=tmp_path, stdout=subprocess.PIPE, env=environment
        ) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()
                process = start(CORE)
                (run_id,) = words(process)
                kill(process)
                wait_for(lambda: info(records, run_id).status is RunStatus.FAILED)
            finally:
                server.send_signal(signal.SIGINT)
        assert_failed(records, run_id)


class TestUnusedLocks:
    def test_gc_removes_them(self, workspace: EmbeddedWorkspace, records: RecordStore, tmp_path: Path) -> None:
        folder = records.folder / FOLDER_NAME
        folder.mkdir()
        mine, old, new = (folder / (letter * 32) for letter in "abc")
        for file, machine in ((mine, this_machine()), (old, "elsewhere - -"), (new, "elsewhere - -")):
            file.write_text(machine)
        os.utime(old, (0, 0))
        (folder / "notes.txt").write_text("somebody's own")
        done = run_forked([*AMLSTORE, "gc", "--yes", "--workspace", str(records.folder)], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert sorted(lock_files(records)) == sorted([new, folder / "notes.txt"])

    def test_a_live_processs_stays(self, start: Start, records: RecordStore) -> None:
        words(start(FLUENT))
        before = lock_files(records)
        remove_unused_locks(records)
        assert lock_files(records) == before != []


def text_of(records: RecordStore, run: Run, path: str) -> str:
    with records.files.open(run._container, path) as file:
        return file.read().decode()
