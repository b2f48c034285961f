"""Submitted scripts that print, write, start and are given what they shouldn't: each is one clear error, or a run whose
status and log say what happened, and none goes on for ever.

`tests/core/test_submit.py` has what is missing, exit codes, signals and children that are left running;
`tests/runner` has environments and processes.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fork_server import AMLSTORE
from forked_service import ForkedService
from ordinary_rights import without_roots_rights
from waiting import is_running, wait_for

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Environment, Experiment, Run, Workspace
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.core.snapshots import files_of_snapshot
from mlflow_amlstore.errors import AmlStoreError, InvalidValue, ScriptNotFound
from mlflow_amlstore.runner.launch import RunFolder, new_run_id

LOG = "user_logs/std_log.txt"
MEGABYTE = 1_000_000
# Waits until the test makes the file that the script's last argument names.
GO = "import os, sys, time\ndef wait():\n    while not os.path.exists(sys.argv[-1]): time.sleep(0.02)\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedService]:
    with ForkedService(tmp_path_factory.mktemp("service")) as running:
        yield running


def experiment_of(service: ForkedService) -> Experiment:
    return Experiment(Workspace.from_url(service.url, KeyCredential(service.url, service.key)), "misbehaving")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    workspace = Workspace.create(tmp_path_factory.mktemp("workspace"))
    yield Experiment(workspace, "misbehaving")
    workspace.close()


@pytest.fixture(scope="module")
def served(service: ForkedService) -> Iterator[Experiment]:
    experiment = experiment_of(service)
    yield experiment
    experiment.workspace.close()


@pytest.fixture(params=["folder", "service"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """An experiment of a workspace in a folder, and one behind a service."""
    found: Experiment = request.getfixturevalue("embedded" if request.param == "folder" else "served")
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.py").touch()
    return folder


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The file that a script waits for."""
    return tmp_path / "go"


def submitted(experiment: Experiment, source: Path, script: str, *arguments: object, **given: Any) -> Run:
    (source / "train.py").write_text(script)
    return experiment.submit(ScriptRunConfig(str(source), "train.py", [str(each) for each in arguments], **given))


def ended(run: Run) -> tuple[str, str]:
    """The run's last status, and what its error says."""
    details = run.wait_for_completion(raise_on_error=False)
    return details["status"], ((details.get("error") or {}).get("error") or {}).get("message", "")


def log_of(run: Run, path: str = LOG) -> bytes:
    if run._records.files.find(run._container, path) is None:
        return b""
    with run._records.files.open(run._container, path) as log:
        return log.read()


class TestWhatIsRefused:
    """Before there is a run, or a folder of it."""

    @pytest.fixture(autouse=True)
    def nothing_is_there(self, embedded: Experiment) -> Iterator[None]:
        before = len(list(embedded.get_runs()))
        yield
        assert len(list(embedded.get_runs())) == before

    @pytest.mark.parametrize("name", ["../outside.py", "/outside.py", "a folder", "a pipe", "NUL\0"])
    def test_a_script_that_is_no_file_of_the_folder(self, embedded: Experiment, source: Path, name: str) -> None:
        (source.parent / "outside.py").touch()
        (source / "a folder").mkdir()
        os.mkfifo(source / "a pipe")
        name = f"{source.parent}{name}" if name.startswith("/") else name
        with pytest.raises(ScriptNotFound, match="should be inside the project folder"):
            embedded.submit(ScriptRunConfig(str(source), name))

    @pytest.mark.parametrize("argument", ["a\0b", os.fsdecode(b"\xff")])
    def test_an_argument_that_is_no_text(self, embedded: Experiment, source: Path, argument: str) -> None:
        with pytest.raises(InvalidValue, match=r"for arguments: must be text, without NUL"):
            embedded.submit(ScriptRunConfig(str(source), "train.py", [argument]))

    def test_an_ignore_file_that_cant_be_understood(self, embedded: Experiment, source: Path) -> None:
        (source / ".amlignore").write_text("data/\n\\\n")
        run_id = new_run_id("misbehaving", 0)
        with pytest.raises(InvalidValue, match=r"for line 2 of .*/source/\.amlignore: is no pattern"):
            embedded.submit(ScriptRunConfig(str(source), "train.py"), run_id=run_id)
        assert not RunFolder.of(run_id).path.exists()


class TestWhatItIsGiven:
    def test_arguments_arrive_byte_for_byte(self, experiment: Experiment, source: Path) -> None:
        arguments = ["\n\r\t", "\"'`$(exit 1)\\", "", " ", "é\u2028\U0001f600", "-x", "--", "*"]
        script = "import os, sys\nprint([os.fsencode(each) for each in sys.argv[1:]])"
        run = submitted(experiment, source, script, *arguments)
        assert ended(run) == ("Completed", "")
        assert log_of(run).decode() == f"{[each.encode() for each in arguments]}\n"

    def test_more_than_a_process_can_be_given_is_a_failed_run(self, embedded: Experiment, source: Path) -> None:
        status, error = ended(submitted(embedded, source, "", "x" * MEGABYTE))
        assert (status, error) == ("Failed", f"{sys.executable} can't be started: Argument list too long")

    def test_a_scripts_name_is_no_option_of_pythons(self, embedded: Experiment, source: Path) -> None:
        (source / "-c.py").write_text("print('ran')")
        run = embedded.submit(ScriptRunConfig(str(source), "-c.py"))
        assert (ended(run)[0], log_of(run)) == ("Completed", b"ran\n")

    @pytest.mark.needs("uv")
    def test_a_requirement_that_doesnt_exist_is_named(
        self, embedded: Experiment, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        environment = Environment("wishful")
        environment.python.conda_dependencies.add_pip_package("no-such-package-of-anybody==1")
        status, error = ended(submitted(embedded, source, "", environment=environment))
        assert status == "Failed"
        assert "environment 'wishful'" in error
        assert "no-such-package-of-anybody" in error


class TestWhatItPrints:
    def test_what_its_own_child_holds_back_comes_when_that_ends(
        self, experiment: Experiment, source: Path, go: Path
    ) -> None:
        """A script's lines arrive while it runs. A program in C keeps what it prints until it has a few KB."""
        script = (
            f"{GO}import subprocess\n"
            "child = subprocess.Popen(['tr', 'a', 'A'], stdin=subprocess.PIPE)\n"
            "child.stdin.write(b'a child\\n'); child.stdin.flush()\n"
            "print('the script')\nwait()\nchild.stdin.close()\nchild.wait()\n"
        )
        run = submitted(experiment, source, script, go)
        wait_for(lambda: log_of(run) == b"the script\n")
        go.touch()
        assert ended(run) == ("Completed", "")
        assert log_of(run) == b"the script\nA child\n"

    def test_bytes_that_are_no_text_and_a_line_without_end_are_kept_and_read(
        self, experiment: Experiment, service: ForkedService, source: Path
    ) -> None:
        printed = bytes(range(256)) * 4 + b"\n" + b"\xff\0x" * (10 * MEGABYTE // 3)
        script = (
            "import sys\n"
            f"sys.stdout.buffer.write(bytes(range(256)) * 4 + b'\\n' + b'\\xff\\0x' * {10 * MEGABYTE // 3})\n"
            "sys.exit(3)\n"
        )
        run = submitted(experiment, source, script)
        status, error = ended(run)
        assert log_of(run) == printed
        assert status == "Failed"
        assert error.startswith("The script ended with exit code 3. Its last lines:\n")
        assert error.endswith("\N{REPLACEMENT CHARACTER}\\x00x")  # of such a line its end is shown
        is_served = experiment.workspace.path is None
        place = service.url if is_served else str(experiment.workspace.path)
        environment = {**os.environ, "AMLSTORE_KEY": service.key} if is_served else dict(os.environ)
        option = "--url" if is_served else "--workspace"
        shown = subprocess.run(
            [sys.executable, *AMLSTORE, "logs", option, place, run.id], env=environment, capture_output=True, check=True
        )
        assert shown.stdout.endswith(printed)
        if is_served:
            with requests.Session() as session:
                session.post(f"{place}/sign-in", json={"key": service.key}).raise_for_status()
                for page in (f"/runs/{run.id}", f"/runs/{run.id}/outputs?path={LOG}", f"/runs/{run.id}.json"):
                    assert session.get(place + page).status_code == 200, page

    def test_a_script_that_cuts_its_own_log_off_goes_on(self, embedded: Experiment, source: Path) -> None:
        run = submitted(embedded, source, "import os\nprint('gone')\nos.ftruncate(1, 0)\nprint('there')\n")
        assert (ended(run), log_of(run)) == (("Completed", ""), b"there\n")


class TestWhatItWrites:
    def test_an_output_that_cant_be_kept_costs_no_other_one(
        self, experiment: Experiment, source: Path, go: Path
    ) -> None:
        script = (
            f"{GO}open(b'outputs/\\xff', 'w').close()\n"
            "os.mkfifo('outputs/a pipe')\nos.symlink('loop', 'outputs/loop')\n"
            "open('outputs/first.txt', 'w').write('first')\nwait()\nopen('outputs/second.txt', 'w').write('second')\n"
        )
        run = submitted(experiment, source, script, go)
        wait_for(lambda: "outputs/first.txt" in run.get_file_names())
        assert run.get_status() == "Running"
        go.touch()
        status, error = ended(run)
        assert status == "Failed"
        assert error.startswith("The outputs can't be kept: Invalid value 'outputs/\\udcff' for artifact path")
        assert log_of(run, "outputs/second.txt") == b"second"

    def test_an_output_that_cant_be_kept_keeps_nobody_from_ending_the_run_of_a_killed_runner(
        self, experiment: Experiment, source: Path, go: Path
    ) -> None:
        script = (
            f"{GO}open(b'outputs/\\xff', 'w').close()\nopen('outputs/good', 'w').write('good')\n"
            "print(os.getppid())\nwait()\n"
        )
        run = submitted(experiment, source, script, go)
        wait_for(lambda: log_of(run).strip() and run.get_status() == "Running")
        os.kill(int(log_of(run)), signal.SIGKILL)
        status, error = ended(run)
        assert status == "Failed"
        assert "runner was killed" in error
        assert log_of(run, "outputs/good") == b"good"

    def test_a_script_that_removes_its_runs_folder_ends_its_run(self, experiment: Experiment, source: Path) -> None:
        """Over a service the rest of its log is in there."""
        script = "import os, shutil\nshutil.rmtree(os.path.dirname(os.getcwd()))\n"
        assert ended(submitted(experiment, source, script))[0] == "Failed"

    def test_outputs_that_come_and_go_while_they_are_kept_end_nothing(
        self, experiment: Experiment, source: Path, go: Path
    ) -> None:
        script = (
            f"{GO}import shutil, time\n"
            "while not os.path.exists(sys.argv[-1]):\n"
            "    os.makedirs('outputs/deep/er', exist_ok=True)\n"
            "    for number in range(100):\n"
            "        open(f'outputs/deep/er/{number}', 'w').write('x' * 10_000)\n"
            "    open('outputs/turn', 'w').write(str(time.time_ns()))\n"
            "    shutil.rmtree('outputs/deep')\n"
        )
        run = submitted(experiment, source, script, go)
        turns = []
        while len(set(turns)) < 4 and run.get_status() != "Failed":
            turns.append(log_of(run, "outputs/turn"))
            time.sleep(0.02)
        go.touch()
        assert ended(run) == ("Completed", "")

    def test_a_work_folder_that_goes_is_the_scripts_own_business(self, experiment: Experiment, source: Path) -> None:
        run = submitted(experiment, source, "import os, shutil\nshutil.rmtree(os.getcwd())\nprint('gone')\n")
        assert (ended(run), log_of(run)) == (("Completed", ""), b"gone\n")


class TestAFullDisk:
    @pytest.fixture(params=["folder", "service"])
    def on_small_disk(self, request: pytest.FixtureRequest, small_disk: Path, tmp_path: Path) -> Iterator[Experiment]:
        """A workspace on a disk of 6 MB."""
        if request.param == "folder":
            workspace = Workspace.create(small_disk / "ws")
            yield Experiment(workspace, "full")
            workspace.close()
            return
        service = ForkedService(tmp_path / "service")
        service.folder = small_disk / "ws"
        with service:
            experiment = experiment_of(service)
            yield experiment
            experiment.workspace.close()

    def test_a_log_that_fills_a_folders_disk_ends_with_what_there_was_room_for(
        self, small_disk: Path, source: Path, go: Path
    ) -> None:
        """How the script ended is recorded as soon as there is room for that."""
        script = (
            "import mlflow, os, sys\n"
            "mlflow.start_run()\n"
            "mlflow.log_metric('kept', 1.0)\n"
            "try:\n"
            "    while True: os.write(1, b'x' * 999 + b'\\n')\n"
            "except OSError as error:\n"
            "    open(sys.argv[1], 'w').write(str(error.errno))\n"
            "    os._exit(3)\n"
        )
        workspace = Workspace.create(small_disk / "ws")
        run = submitted(Experiment(workspace, "full"), source, script, go)
        wait_for(go.exists)
        subprocess.run(["mount", "-o", "remount,size=12m", small_disk], check=True)
        status, error = ended(run)
        assert (status, error.split(". ")[0]) == ("Failed", "The script ended with exit code 3")
        assert run.get_metrics() == {"kept": 1.0}
        assert len(log_of(run)) > 5 * MEGABYTE
        assert log_of(run) == log_of(run, "azureml-logs/70_driver_log.txt")
        wait_for(lambda: not RunFolder.of(run.id).path.exists())
        workspace.close()

    def test_a_log_that_a_services_disk_has_no_room_for(self, source: Path, small_disk: Path, tmp_path: Path) -> None:
        service = ForkedService(tmp_path / "service")
        service.folder = small_disk / "ws"
        with service:
            experiment = experiment_of(service)
            run = submitted(experiment, source, "for number in range(12_000): print(f'{number:999d}')\n")
            status, error = ended(run)
            assert (status, error.split(":")[0]) == ("Failed", f"The end of {LOG} can't be kept")
            assert "No space left on the disk" in error
            kept = log_of(run)
            assert kept
            assert "".join(f"{number:999d}\n" for number in range(12_000)).encode().startswith(kept)
            experiment.workspace.close()

    def test_outputs_that_there_is_no_room_for_fail_the_run_and_what_fits_is_kept(
        self, on_small_disk: Experiment, source: Path
    ) -> None:
        script = (
            "open('outputs/large', 'wb').write(bytes(8_000_000))\nopen('outputs/small', 'w').write('small')\n"
            "print('the end')\n"
        )
        run = submitted(on_small_disk, source, script)
        status, error = ended(run)
        assert status == "Failed"
        assert error.startswith("The outputs can't be kept: No space left on the disk")
        assert (log_of(run, "outputs/small"), log_of(run)) == (b"small", b"the end\n")

    def test_a_full_work_folder_is_an_error_of_the_scripts(
        self, experiment: Experiment, source: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(small_disk))
        monkeypatch.setattr("tempfile.tempdir", str(small_disk))
        fills = "open('work', 'wb').write(bytes(8_000_000))"
        gives_back = "os.remove('work')"  # else its log, which is beside it over a service, has no room for the error
        script = f"import os\ntry: {fills}\nexcept OSError:\n    {gives_back}\n    raise\n"
        status, error = ended(submitted(experiment, source, script))
        assert status == "Failed"
        assert "No space left on device" in error

    def test_a_source_folder_that_the_work_folder_has_no_room_for_is_refused(
        self, embedded: Experiment, source: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(small_disk))
        (source / "large").write_bytes(bytes(8 * MEGABYTE))
        before = len(list(embedded.get_runs()))
        with pytest.raises((OSError, AmlStoreError), match="No space left"):
            submitted(embedded, source, "")
        assert len(list(embedded.get_runs())) == before
        assert [path for path in small_disk.glob("azureml_runs-*/*") if path.name != ".slots"] == []


class TestCancel:
    def test_who_ignores_sigterm_or_is_stopped_ends_after_the_grace_time(
        self, embedded: Experiment, source: Path
    ) -> None:
        script = (
            "import os, signal, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "stopped = os.fork()\n"
            "if stopped == 0: os.setsid(); os.kill(os.getpid(), signal.SIGSTOP)\n"
            "print(os.getpid(), stopped)\n"
            "time.sleep(600)\n"
        )
        run = submitted(embedded, source, script)
        wait_for(lambda: len(log_of(run).split()) == 2)
        pids = [int(pid) for pid in log_of(run).split()]
        run.cancel()
        assert ended(run) == ("Canceled", "")
        assert not any(is_running(pid) for pid in pids)

    def test_a_daemon_is_ended_with_the_script(self, experiment: Experiment, source: Path) -> None:
        script = (
            "import os, time\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        print(os.getpid())\n"
            "        time.sleep(600)\n"
            "    os._exit(0)\n"
            "os.wait()\n"
        )
        run = submitted(experiment, source, script)
        assert ended(run) == ("Completed", "")
        assert all(not is_running(int(pid)) for pid in log_of(run).split())


class TestTheSourceFolder:
    def test_odd_names_links_and_pipes(
        self, experiment: Experiment, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept = ["new\nline", "é \U0001f600", " ", "-rf", "x" * 255, "tab\t\x01", "~", "a:b"]
        left_out = [b"\xff", b"back\\slash", b"%2e%2e"]
        for name in [*map(os.fsencode, kept), *left_out]:
            (source / os.fsdecode(name)).touch()
        for name, target in {"loop": "loop", "folder loop": ".", "nowhere": "gone", "out": "/etc/passwd"}.items():
            (source / name).symlink_to(target)
        os.mkfifo(source / "a pipe")
        with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as there:
            there.chdir(source)
            listening.bind("a socket")  # whose whole path may be too long
        run = submitted(experiment, source, "import os\nprint(sorted(os.listdir()))\n")
        assert ended(run) == ("Completed", "")
        assert log_of(run).decode() == f"{sorted([*kept, 'train.py', 'outputs', 'logs'])}\n"
        [warned] = [record.message for record in caplog.records if "leaves out" in record.message]
        assert all(repr(os.fsdecode(name)) in warned for name in (*left_out, b"out"))

    def test_folders_that_cant_be_read_are_left_out_and_said(
        self, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (source / "closed").mkdir()
        (source / "closed" / "file").touch()
        (source / "closed").chmod(0)
        with without_roots_rights():
            assert [path for path, _ in files_of_snapshot(source)] == ["train.py"]
        (source / "closed").chmod(0o700)
        assert "leaves out what can't be kept: 'closed/'" in caplog.text

    def test_one_that_changes_while_it_is_taken(self, experiment: Experiment, source: Path) -> None:
        """Either there is one error, which names a file, or the script sees just what its snapshot has."""
        change = (
            "import os, sys, pathlib\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "print('changing', flush=True)\n"
            "while True:\n"
            "    for number in range(20):\n"
            "        file = folder / f'{number:02d}.txt'\n"
            "        file.write_bytes(bytes([number]) * 100_000)\n"
            "        with file.open('ab') as grows: grows.write(b'more' * 1000)\n"
            "        (folder / 'new').write_bytes(b'replaced'); os.replace(folder / 'new', file)\n"
            "        if number % 5 == 0: file.unlink()\n"
        )
        look = (
            "import hashlib, json, pathlib\n"
            "for file in sorted(pathlib.Path('.').glob('*.txt')):\n"
            "    print(file.name, hashlib.sha256(file.read_bytes()).hexdigest())\n"
        )
        (source / "train.py").write_text(look)
        config = ScriptRunConfig(str(source), "train.py")
        runs, refused = [], []
        with subprocess.Popen([sys.executable, "-c", change, source], stdout=subprocess.PIPE) as changing:
            assert changing.stdout is not None
            changing.stdout.readline()
            before = len(list(experiment.get_runs()))
            for _ in range(5):
                try:
                    runs.append(experiment.submit(config))
                except (OSError, AmlStoreError) as error:
                    refused.append(str(error))
            changing.kill()
        assert [error for error in refused if str(source) not in error] == []
        assert len(list(experiment.get_runs())) == before + len(runs)
        for run in runs:
            assert ended(run) == ("Completed", "")
            with zipfile.ZipFile(run.restore_snapshot(path=str(source.parent / run.id))) as snapshot:
                names = sorted(name for name in snapshot.namelist() if name.endswith(".txt"))
                hashes = [hashlib.sha256(snapshot.read(name)).hexdigest() for name in names]
            seen = [line.split() for line in log_of(run).decode().splitlines()]
            assert seen == [list(each) for each in zip(names, hashes, strict=True)]
