"""Submitting to Ray: the same script, as a job of a cluster, with its log, outputs and status in the run's record.

One head of Ray serves the file. It asks for a token, as a cluster should.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from forked_service import ForkedService
from waiting import is_running, wait_for

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Environment, Experiment, Workspace
from mlflow_amlstore.core.run_configuration import PyTorchConfiguration
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.errors import ActivityFailed, InvalidValue, NotSupported, RayFailed, TokenRefused
from mlflow_amlstore.runner import own_wheel
from mlflow_amlstore.runner.environments import packages_on_ray
from mlflow_amlstore.runner.launch import RUNNER_CODE, RunFolder
from mlflow_amlstore.runner.ray_address import is_ray_address, is_this_machine, jobs_url
from mlflow_amlstore.runner.ray_job import RayJobs

LOG = "user_logs/std_log.txt"
TOKEN = "a-token-of-this-cluster-0123456789"
Source = Callable[..., Path]
needs_ray = pytest.mark.needs("ray", "aiohttp_cors")  # the second is of `ray[default]`, which has the jobs


class Head(NamedTuple):
    """A head of Ray: the address of its jobs, and the folder of its logs."""

    url: str
    logs: Path

    def log_of(self, run: ScriptRun) -> bytes:
        return (self.logs / f"job-driver-{run.id}.log").read_bytes()

    def status_of(self, run: ScriptRun) -> str:
        return str(RayJobs(self.url).job(run.id)["status"])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", TOKEN)
        environment.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # has the cluster's `python`
        port, jobs, client, agent = free_ports(4)
        options = [
            f"--port={port}", f"--dashboard-port={jobs}", f"--ray-client-server-port={client}",
            f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--num-cpus=2",
            "--object-store-memory=80000000", "--disable-usage-stats", "--block",
        ]  # fmt: skip
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", *options]
        with (Path(folder) / "head.txt").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        url = f"http://127.0.0.1:{jobs}"
        try:
            while not answers(url):
                assert process.poll() is None, (Path(folder) / "head.txt").read_text()
                time.sleep(0.2)
            yield Head(url, Path(folder) / "session_latest" / "logs")
        finally:
            process.terminate()
            process.wait()
            for left in processes_with(folder):  # of Ray's daemons, which all are told its folder
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


def processes_with(*texts: str) -> list[int]:
    """The processes whose command lines have all of these texts in them."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if all(text.encode() in command for text in texts):
                found.append(int(process.name))
    return sorted(found)


def answers(url: str) -> bool:
    try:
        RayJobs(url).check()
    except RayFailed:
        return False
    return True


@pytest.fixture(scope="module")
def folder_workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path_factory.mktemp("workspace"))
    yield ws
    ws.close()


@pytest.fixture(scope="module", params=["folder", "service"])
def workspace(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A workspace in a folder of the machine that Ray's head is on, and one behind a service."""
    if request.param == "folder":
        yield request.getfixturevalue("folder_workspace")
        return
    with ForkedService(tmp_path_factory.mktemp("served")) as service:
        ws = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
        yield ws
        ws.close()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Writes a folder with a script, and other files by their names."""

    def write(script: str, **files: str) -> Path:
        folder = tmp_path / "source"
        folder.mkdir()
        for name, text in {"train.py": script, **files}.items():
            (folder / name).write_text(text)
        return folder

    return write


def clusters_own() -> Environment:
    """The cluster's Python as it is: here the one that runs the tests."""
    environment = Environment("clusters own")
    environment.python.user_managed_dependencies = True
    return environment


def submitted(ws: Workspace, head: Head, folder: Path, **given: object) -> ScriptRun:
    config = ScriptRunConfig(
        str(folder), script="train.py", compute_target=head.url, **{"environment": clusters_own(), **given}
    )
    run = Experiment(ws, "on-ray").submit(config)
    assert isinstance(run, ScriptRun)
    return run


def kept_log(run: ScriptRun) -> bytes:
    record = run._records.files.find(run._container, LOG)
    return b"" if record is None else run._records.files.read_part(run._container, LOG, 0, 10**9)


@needs_ray
class TestAScript:
    def test_it_runs_with_its_folder_and_what_it_keeps_is_in_its_run(
        self, workspace: Workspace, head: Head, source: Source, tmp_path: Path
    ) -> None:
        goes_on = tmp_path / "goes on"
        folder = source(
            "import os, pathlib, sys, time\n"
            "import helper, mlflow\n"
            "from azureml.core.run import Run\n"
            "print(sys.argv[1:], helper.WORD, os.environ['COLOUR'], flush=True)\n"
            f"while not os.path.exists({str(goes_on)!r}): time.sleep(0.05)\n"
            "run = Run.get_context()\n"
            "run.log('mse', 0.5)\n"
            "mlflow.log_metric('by mlflow', 2.0)\n"
            "pathlib.Path('outputs/model.txt').write_text('model')\n"
            "sys.stdout.buffer.write(b'\\xff no text\\n')\n"
            "print(run.id)\n",
            **{"helper.py": "WORD = 'from the helper'\n"},
        )
        environment = clusters_own()
        environment.environment_variables["COLOUR"] = "green"
        run = submitted(workspace, head, folder, arguments=["--alpha", 0.1, "a b\n'c'"], environment=environment)
        first = b"['--alpha', '0.1', \"a b\\n'c'\"] from the helper green\n"
        wait_for(lambda: first in kept_log(run) or run.get_status() == "Failed")  # while it runs
        assert run.get_status() == "Running", run.get_details()
        goes_on.touch()
        assert run.wait_for_completion()["status"] == "Completed"
        assert kept_log(run) == head.log_of(run)
        assert b"\xff no text\n" + f"{run.id}\n".encode() in kept_log(run)
        assert run.get_metrics() == {"mse": 0.5, "by mlflow": 2.0}
        assert {"azureml-logs/70_driver_log.txt", "outputs/model.txt", LOG} <= set(run.get_file_names())
        wait_for(lambda: not RunFolder.of(run.id).path.exists())
        assert head.status_of(run) == "SUCCEEDED"
        assert TOKEN not in str(run.get_details()) + str(run.get_properties())
        assert TOKEN.encode() not in kept_log(run)

    def test_a_failed_one_says_how_and_its_last_lines(
        self, folder_workspace: Workspace, head: Head, source: Source
    ) -> None:
        folder = source("open('outputs/before.txt', 'w').close()\nprint('so far')\nraise SystemExit(3)\n")
        run = submitted(folder_workspace, head, folder)
        with pytest.raises(ActivityFailed, match=r"(?s)The script ended with exit code 3\. Its last lines:.*so far"):
            run.wait_for_completion()
        assert "outputs/before.txt" in run.get_file_names()

    def test_an_output_that_cant_be_kept_costs_no_other_one(
        self, folder_workspace: Workspace, head: Head, source: Source
    ) -> None:
        folder = source("open(b'outputs/\\xff', 'w').close()\nopen('outputs/second.txt', 'w').close()\n")
        run = submitted(folder_workspace, head, folder)
        with pytest.raises(ActivityFailed, match="The outputs can't be kept"):
            run.wait_for_completion()
        assert "outputs/second.txt" in run.get_file_names()

    @pytest.mark.needs("torch", "pytorch_lightning")
    def test_a_plain_logger_of_lightnings_logs_into_its_run(
        self, folder_workspace: Workspace, head: Head, source: Source
    ) -> None:
        folder = source(
            "from pytorch_lightning.loggers import MLFlowLogger\nMLFlowLogger().log_metrics({'loss': 0.5})\n"
        )
        run = submitted(folder_workspace, head, folder)
        run.wait_for_completion()
        assert run.get_metrics() == {"loss": 0.5}

    def test_a_command_is_the_shells(self, folder_workspace: Workspace, head: Head, source: Source) -> None:
        folder = source("")
        config = ScriptRunConfig(
            str(folder), command="echo one && echo $MLFLOW_RUN_ID", compute_target=head.url, environment=clusters_own()
        )
        run = Experiment(folder_workspace, "on-ray").submit(config)
        run.wait_for_completion()
        assert kept_log(run).endswith(f"one\n{run.id}\n".encode())

    @pytest.mark.full
    @pytest.mark.needs("pip")  # by which Ray installs
    def test_its_packages_are_installed_by_ray(self, folder_workspace: Workspace, head: Head, source: Source) -> None:
        folder = source("import sys, colour_of_ray\nprint(sys.prefix, colour_of_ray.NAME)\n")
        package = folder / "packages"
        package.mkdir()
        (package / "colour_of_ray.py").write_text("NAME = 'green'\n")
        (package / "pyproject.toml").write_text(
            "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
            "[project]\nname = 'colour-of-ray'\nversion = '1'\n"
            "[tool.hatch.build.targets.wheel]\nonly-include = ['colour_of_ray.py']\n"
        )
        environment = Environment("packages")
        environment.python.conda_dependencies.add_pip_package("./packages")
        run = submitted(folder_workspace, head, folder, environment=environment)
        run.wait_for_completion()
        assert kept_log(run).endswith(b" green\n")


@needs_ray
@pytest.mark.needs("sklearn")
def test_the_example(head: Head, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "submit_to_ray.py"
    command = [sys.executable, str(example), head.url, "--workspace", str(tmp_path / "ws"), "--cluster-has-packages"]
    printed = subprocess.check_output(command, text=True, cwd=tmp_path)
    assert "alpha is 0.50, and mse is" in printed
    assert re.search(r"^mse \d+, files .*outputs/ridge_0\.50\.pkl", printed, re.MULTILINE)


def script_that_waits(tmp_path: Path) -> str:
    """It says its process id in a file, and when it is told to end, in its outputs."""
    return (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path('outputs/last.txt').write_text('told')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'pid')!r})\n"
        "while True: time.sleep(0.1)\n"
    )


def waiting_script(run: ScriptRun, tmp_path: Path) -> int:
    """The process id of that script, once it runs."""
    wait_for(lambda: (tmp_path / "pid").exists() or run.get_status() == "Failed")
    return int((tmp_path / "pid").read_text())


def bridges_of(run: ScriptRun) -> list[int]:
    """The processes that look after a run: its runner, and the watch."""
    return processes_with(RUNNER_CODE, run.id)


@needs_ray
class TestAnEnd:
    def test_cancel_stops_the_job_and_keeps_what_the_script_wrote(
        self, workspace: Workspace, head: Head, source: Source, tmp_path: Path
    ) -> None:
        run = submitted(workspace, head, source(script_that_waits(tmp_path)))
        script = waiting_script(run, tmp_path)
        run.cancel()
        assert run.wait_for_completion()["status"] == "Canceled"
        assert not is_running(script)
        assert head.status_of(run) == "STOPPED"
        assert "outputs/last.txt" in run.get_file_names()

    def test_a_run_that_takes_too_long_fails(
        self, folder_workspace: Workspace, head: Head, source: Source, tmp_path: Path
    ) -> None:
        run = submitted(folder_workspace, head, source(script_that_waits(tmp_path)), max_run_duration_seconds=1)
        with pytest.raises(ActivityFailed, match="longer than max_run_duration_seconds=1"):
            run.wait_for_completion()
        assert head.status_of(run) == "STOPPED"

    @pytest.mark.parametrize("who", ["the runner", "the runner and its watch"])
    def test_where_the_bridge_is_killed_the_run_is_failed_and_the_script_ends(
        self, folder_workspace: Workspace, head: Head, source: Source, tmp_path: Path, who: str
    ) -> None:
        run = submitted(folder_workspace, head, source(script_that_waits(tmp_path)))
        script = waiting_script(run, tmp_path)
        wait_for(lambda: run.get_status() == "Running")
        runner, watch = bridges_of(run)
        if who != "the runner":
            os.kill(watch, signal.SIGKILL)
        os.kill(runner, signal.SIGKILL)
        with pytest.raises(ActivityFailed, match="killed"):
            run.wait_for_completion()
        wait_for(lambda: not is_running(script))
        wait_for(lambda: head.status_of(run) in ("STOPPED", "SUCCEEDED"))


class Front:
    """A proxy in front of Ray's API that refuses the first jobs, as a head does that has no node for them yet, and
    takes the next one without an answer."""

    def __init__(self, url: str, refused: int = 1) -> None:
        self.jobs = 0
        self.stopped: list[str] = []
        front = self

        class Forward(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.forward()

            def do_PUT(self) -> None:
                self.forward()

            def do_POST(self) -> None:
                front.jobs += self.path == "/api/jobs/"
                if self.path.endswith("/stop"):
                    front.stopped.append(self.path.split("/")[-2])
                if self.path == "/api/jobs/" and front.jobs <= refused:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.answer(500, b"TimeoutError: Failed to get head node agent within 10 seconds.")
                else:
                    self.forward()

            def forward(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
                headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
                answer = requests.request(self.command, url + self.path, data=sent, headers=headers)
                if self.path == "/api/jobs/":
                    self.close_connection = True
                else:
                    self.answer(answer.status_code, answer.content)

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Front":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@needs_ray
def test_a_head_that_takes_no_job_yet_is_asked_again_and_the_job_runs_once(
    folder_workspace: Workspace, head: Head, source: Source, tmp_path: Path
) -> None:
    folder = source(f"with open({str(tmp_path / 'starts')!r}, 'a') as file: file.write('x')\n")
    with Front(head.url) as front:
        run = submitted(folder_workspace, Head(front.url, head.logs), folder)
        assert run.wait_for_completion()["status"] == "Completed"
    assert front.jobs == 2
    assert (tmp_path / "starts").read_text() == "x"


@needs_ray
def test_a_cancel_ends_the_asking_and_stops_a_job_that_ray_takes_late(
    folder_workspace: Workspace, head: Head, source: Source
) -> None:
    with Front(head.url, refused=1000) as front:
        run = submitted(folder_workspace, Head(front.url, head.logs), source(""))
        wait_for(lambda: front.jobs >= 2)
        run.cancel()
        assert run.wait_for_completion()["status"] == "Canceled"
        wait_for(lambda: front.stopped == [run.id])


@needs_ray
class TestARefusal:
    def test_a_wrong_token_is_named_and_not_shown(
        self, folder_workspace: Workspace, head: Head, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong-token")
        with pytest.raises(TokenRefused, match="RAY_AUTH_TOKEN") as refused:
            submitted(folder_workspace, head, source(""))
        assert "wrong-token" not in str(refused.value)
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(TokenRefused, match="the token is missing"):
            RayJobs(head.url).check()

    def test_a_token_may_be_in_a_file(self, head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        RayJobs(head.url).check()
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
        with pytest.raises(InvalidValue, match="RAY_AUTH_TOKEN_PATH"):
            RayJobs(head.url)


class TestAnAddress:
    @pytest.mark.parametrize(
        ("target", "url"),
        [
            ("ray://head", "http://head:8265"),
            ("ray://head:10001", "http://head:8265"),
            ("ray://head:8000", "http://head:8000"),
            ("ray://[::1]", "http://[::1]:8265"),
            ("http://head:8265/", "http://head:8265"),
            ("https://ray.example.com/cluster", "https://ray.example.com/cluster"),
        ],
    )
    def test_it_leads_to_the_jobs(self, target: str, url: str) -> None:
        assert is_ray_address(target)
        assert jobs_url(target) == url

    @pytest.mark.parametrize(
        "target",
        ["ray://", "http://", "ray://head:port", "ray://head:99999", "ray://head/x", "http://head?x=1", "ray://a b"],
    )
    def test_one_that_is_none_is_refused(self, folder_workspace: Workspace, source: Source, target: str) -> None:
        config = ScriptRunConfig(str(source("")), script="train.py", compute_target=target)
        with pytest.raises(InvalidValue, match="compute_target: must be ray://HOST"):
            Experiment(folder_workspace, "on-ray").submit(config)

    def test_a_password_in_it_is_refused_and_not_shown(self) -> None:
        with pytest.raises(InvalidValue, match="RAY_AUTH_TOKEN") as refused:
            jobs_url("http://user:secret@head:8265")
        assert "secret" not in str(refused.value)

    def test_another_machine_cant_reach_a_folder(self, folder_workspace: Workspace, source: Source) -> None:
        config = ScriptRunConfig(str(source("")), script="train.py", compute_target="ray://head.example.com")
        with pytest.raises(InvalidValue, match="amlstore serve"):
            Experiment(folder_workspace, "on-ray").submit(config)
        assert is_this_machine("ray://127.0.0.1")
        assert is_this_machine("http://localhost:8265")

    def test_nobody_there_is_an_error_at_once_and_no_run(self, folder_workspace: Workspace, source: Source) -> None:
        (port,) = free_ports(1)
        experiment = Experiment(folder_workspace, "nobody-there")
        config = ScriptRunConfig(str(source("")), script="train.py", compute_target=f"http://127.0.0.1:{port}")
        with pytest.raises(RayFailed, match=f"http://127.0.0.1:{port} can't be used: no connection"):
            experiment.submit(config)
        assert list(experiment.get_runs()) == []

    def test_what_isnt_ray_is_named(self, tmp_path: Path) -> None:
        with ForkedService(tmp_path / "workspace") as service, pytest.raises(RayFailed, match="answered"):
            RayJobs(service.url).check()


class TestWhatRayIsAsked:
    def test_nodes_are_rays_and_so_are_processes(self, folder_workspace: Workspace, source: Source) -> None:
        config = ScriptRunConfig(
            str(source("")),
            script="train.py",
            compute_target="ray://127.0.0.1:1",
            distributed_job_config=PyTorchConfiguration(process_count=4, node_count=2),
        )
        with pytest.raises(NotSupported, match=r"process_count=4 on Ray.*num_workers=4"):
            Experiment(folder_workspace, "on-ray").submit(config)
        config.run_config.pytorch.process_count = None
        with pytest.raises(RayFailed):  # node_count=2 is no matter
            Experiment(folder_workspace, "on-ray").submit(config)

    def test_packages_are_the_lists_and_what_this_package_needs(self) -> None:
        environment = {
            "python": {
                "condaDependencies": {
                    "dependencies": [
                        "python=3.11",
                        {"pip": ["azureml-defaults", "numpy<3", "-r more.txt", "./own", "mlflow-amlstore[service]"]},
                    ]
                }
            }
        }
        lines = packages_on_ray(environment, is_embedded=False)
        assert lines is not None
        folder = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
        assert lines[:3] == ["numpy<3", f"-r {folder}/more.txt", f"{folder}/./own"]
        names = [line.split(">")[0].split("=")[0].split(";")[0] for line in lines]
        assert {"mlflow-skinny", "requests", "uvicorn", "sqlalchemy"} <= set(names)
        assert not [line for line in lines if line.startswith("mlflow-amlstore") or "extra" in line]
        assert "sqlalchemy" not in str(packages_on_ray(None, is_embedded=False))
        assert packages_on_ray({"python": {"userManagedDependencies": True}}, is_embedded=True) is None

    def test_conda_packages_are_refused_by_name(self) -> None:
        environment = {"python": {"condaDependencies": {"dependencies": ["python", "conda-forge::cudatoolkit=11"]}}}
        with pytest.raises(NotSupported, match=r"cudatoolkit.*List pip packages"):
            packages_on_ray(environment, is_embedded=True)

    def test_this_package_goes_with_the_job(self, tmp_path: Path) -> None:
        for path, content in own_wheel.as_module():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        code = (
            "import azureml.core, mlflow_amlstore, importlib.metadata as metadata; "
            "print(mlflow_amlstore.__file__, azureml.core.Run.__module__); "
            "print(*{each.name for each in metadata.entry_points(group='mlflow.tracking_store')})"
        )
        variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
        said = subprocess.check_output([sys.executable, "-c", code], text=True, env=variables, cwd=tmp_path)
        assert said.startswith(f"{tmp_path}/mlflow_amlstore/__init__.py mlflow_amlstore.core.run\n")
        assert "amlstore" in said.splitlines()[1].split()
