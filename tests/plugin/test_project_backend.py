"""`mlflow run --backend amlstore`, or `azureml`: a project becomes a submitted run that keeps its output."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from waiting import wait_for

from mlflow_amlstore.core import Run, Workspace
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.plugin.project_backend import ProjectBackend
from mlflow_amlstore.pytest_plugin import mlflow_pointed_at
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

LOG = "user_logs/std_log.txt"
MLPROJECT = """\
name: lines
{environment}
entry_points:
  main:
    parameters:
      slope: {{type: float, default: 1.0}}
      note: {{type: string, default: none}}
      then: {{type: string, default: end}}
    command: "python train.py {{slope}} {{note}} {{then}}"
"""
TRAIN = """\
import os, sys, time
from pathlib import Path

import mlflow

slope, note, then = sys.argv[1:4]
with mlflow.start_run() as run:
    print("params at the start:", sorted(MlflowClient().get_run(run.info.run_id).data.params))
    for step in range(3):
        mlflow.log_metric("height", float(slope) * step, step=step)
Path("outputs").mkdir(exist_ok=True)
Path("outputs/line.txt").write_text(slope)
print(repr(note), sys.argv[4:], flush=True)
if then == "fail":
    raise SystemExit("It fails.")
if then == "sleep":
    time.sleep(600)
""".replace("import mlflow\n", "import mlflow\nfrom mlflow import MlflowClient\n")
Project = Callable[..., Path]
MlflowRun = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes a project's folder. `environment` is the line of its MLproject, `files` are others by name."""

    def write(environment: str = "", **files: str) -> Path:
        folder = tmp_path / "project"
        folder.mkdir()
        for name, text in {"MLproject": MLPROJECT.format(environment=environment), "train.py": TRAIN, **files}.items():
            (folder / name).write_text(text)
        return folder

    return write


@pytest.fixture
def mlflow_run(workspace: EmbeddedWorkspace, tmp_path: Path) -> MlflowRun:
    """`mlflow run FOLDER OPTIONS --env-manager local` in a process of its own, which tracks into the workspace."""

    def run(folder: Path, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "mlflow", "run", str(folder), "--env-manager", "local", *options]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": workspace.root_uri, **variables}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.fixture
def submitted(workspace: EmbeddedWorkspace, client: MlflowClient) -> Iterator[Callable[[str], ScriptRun]]:
    """Opens a run by its id. What a failed test leaves running is canceled."""
    opened = Workspace.from_tracking_uri(workspace.root_uri)

    def run(run_id: str) -> ScriptRun:
        found = Run.get(opened, run_id)
        assert isinstance(found, ScriptRun)
        return found

    yield run
    for experiment in client.search_experiments():
        for found in client.search_runs([experiment.experiment_id]):
            if found.info.status in ("SCHEDULED", "RUNNING") and isinstance(
                Run.get(opened, found.info.run_id), ScriptRun
            ):
                run(found.info.run_id).cancel()


Submitted = Callable[[str], ScriptRun]


def only_run(client: MlflowClient, experiment: str = "Default") -> Any:
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def log_of(run: ScriptRun) -> str:
    return run.get_details_with_logs()["logFiles"][LOG]


class TestTheCommand:
    @pytest.mark.parametrize("backend", ["amlstore", "azureml"])
    def test_the_entry_point_becomes_a_run_with_its_output(
        self, client: MlflowClient, project: Project, mlflow_run: MlflowRun, submitted: Submitted, backend: str
    ) -> None:
        note = """it's "two  words" $HOME; `id` {}"""
        options = ["--experiment-name", "lines", "--run-name", "steep", "-P", "slope=2.5", "-P", f"note={note}"]
        done = mlflow_run(project(), "--backend", backend, *options, "-P", "more=a 'b'")
        assert done.returncode == 0, done.stderr
        run_id = only_run(client, "lines").info.run_id
        assert run_id in done.stderr

        run = submitted(run_id)
        run.wait_for_completion()
        found = client.get_run(run_id)
        assert (found.info.run_name, found.info.status) == ("steep", "FINISHED")
        assert found.data.tags["mlflow.project.backend"] == backend
        points = client.get_metric_history(run_id, "height")
        assert [(point.step, point.value) for point in points] == [(0, 0.0), (1, 2.5), (2, 5.0)]
        assert log_of(run).splitlines() == [
            "params at the start: ['more', 'note', 'slope', 'then']",
            f"{note!r} ['--more', \"a 'b'\"]",
        ]
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/outputs/line.txt") == "2.5"

    def test_params_and_tags_are_those_of_mlflows_own_backend(
        self, client: MlflowClient, project: Project, mlflow_run: MlflowRun, submitted: Submitted
    ) -> None:
        folder = project()
        options = ["-P", "note=a b", "-P", "other=1"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow's own wants it
        for backend in ("local", "amlstore"):
            done = mlflow_run(folder, "--backend", backend, "--experiment-name", backend, *options, PATH=path)
            assert done.returncode == 0, done.stderr
        theirs, ours = (only_run(client, backend) for backend in ("local", "amlstore"))
        submitted(ours.info.run_id).wait_for_completion()
        assert ours.data.params == theirs.data.params
        others = {"mlflow.runName", "mlflow.project.backend"}
        assert {n: v for n, v in ours.data.tags.items() if n not in others} == {
            n: v for n, v in theirs.data.tags.items() if n not in others
        }

    def test_it_ends_before_the_run_does(
        self, client: MlflowClient, project: Project, mlflow_run: MlflowRun, submitted: Submitted
    ) -> None:
        done = mlflow_run(project(), "--backend", "azureml", "-P", "then=sleep")
        assert done.returncode == 0, done.stderr
        run = submitted(only_run(client).info.run_id)
        wait_for(lambda: run.get_status() == "Running")
        run.cancel()
        assert run.wait_for_completion()["status"] == "Canceled"

    def test_a_project_that_fails_leaves_a_failed_run_with_its_output(
        self, client: MlflowClient, project: Project, mlflow_run: MlflowRun, submitted: Submitted
    ) -> None:
        mlflow_run(project(), "--backend", "azureml", "-P", "then=fail")
        run = submitted(only_run(client).info.run_id)
        assert run.wait_for_completion(raise_on_error=False)["status"] == "Failed"
        assert log_of(run).endswith("It fails.\n")
        assert client.get_run(run.id).info.status == "FAILED"
        assert client.get_run(run.id).data.metrics == {"height": 2.0}

    def test_what_cant_be_submitted_is_refused_in_one_line(
        self, client: MlflowClient, project: Project, mlflow_run: MlflowRun
    ) -> None:
        done = mlflow_run(project(), "--backend", "azureml", "-c", '{"COMPUTE": "cpu", "cluster_spec": 1}')
        assert done.returncode != 0
        assert "cluster_spec in backend_config is not supported" in done.stderr
        assert "Traceback" not in done.stderr
        assert client.search_runs(["0"]) == []


class TestFromPython:
    def submit(self, folder: Path, **given: Any) -> Any:
        return mlflow.projects.run(str(folder), backend="amlstore", **{"env_manager": "local", **given})

    def test_it_waits_and_shows_the_output(
        self, client: MlflowClient, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run = self.submit(project(), parameters={"slope": 3, "note": "shown"})
        assert run.get_status() == "FINISHED"
        assert run.wait() is True
        assert "'shown' []" in capfd.readouterr().out
        assert client.get_run(run.run_id).data.params["slope"] == "3"

    def test_a_run_that_fails_raises(
        self, client: MlflowClient, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ExecutionException, match="failed"):
            self.submit(project(), parameters={"then": "fail"})
        assert "It fails." in capfd.readouterr().out
        assert only_run(client).info.status == "FAILED"

    def test_a_process_that_waits_for_it_exits_with_an_error(
        self, workspace: EmbeddedWorkspace, project: Project
    ) -> None:
        code = (
            "import sys, mlflow\n"
            "mlflow.projects.run(sys.argv[1], backend='azureml', env_manager='local', parameters={'then': 'fail'})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(project())],
            env={**os.environ, "MLFLOW_TRACKING_URI": workspace.root_uri},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert "It fails." in done.stdout

    def test_the_output_may_be_left_unshown(
        self, project: Project, capfd: pytest.CaptureFixture[str], client: MlflowClient
    ) -> None:
        self.submit(project(), backend_config={"STREAM_OUTPUT": False})
        assert capfd.readouterr().out == ""

    def test_it_can_be_canceled(self, client: MlflowClient, project: Project, submitted: Submitted) -> None:
        run = self.submit(project(), parameters={"then": "sleep"}, synchronous=False)
        wait_for(lambda: run.get_status() == "RUNNING")
        run.cancel()
        assert run.get_status() == "KILLED"
        assert run.wait() is False
        assert client.get_run(run.run_id).info.status == "KILLED"

    def test_it_is_a_child_of_the_active_run(self, client: MlflowClient, project: Project) -> None:
        folder = project()
        with mlflow.start_run() as parent:
            run = self.submit(folder)
        assert client.get_run(run.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert client.get_run(parent.info.run_id).info.status == "FINISHED"

    def test_it_waits_in_the_queue_of_the_target_that_it_names(
        self, workspace: EmbeddedWorkspace, client: MlflowClient, project: Project, submitted: Submitted
    ) -> None:
        workspace.records.compute_targets.put("cpu-cluster", "AmlCompute", 1, {})
        run = self.submit(project(), backend_config={"COMPUTE": "cpu-cluster"})
        assert submitted(run.run_id).get_details()["target"] == "cpu-cluster"

    def test_no_password_of_a_repository_is_kept(
        self, client: MlflowClient, project: Project, submitted: Submitted
    ) -> None:
        folder = project()
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        address = "https://me:secret@example.org/lines.git"
        for arguments in (
            ["init", "-q"],
            ["add", "."],
            [*author, "commit", "-qm", "x"],
            ["remote", "add", "origin", address],
        ):
            subprocess.run(["git", *arguments], cwd=folder, check=True)
        run = self.submit(folder)
        tags = client.get_run(run.run_id).data.tags
        commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip()
        assert tags["mlflow.source.git.commit"] == commit
        assert tags["mlflow.gitRepoURL" if "mlflow.gitRepoURL" in tags else "mlflow.source.git.repoURL"].endswith(
            "example.org/lines.git"
        )
        assert "secret" not in str(tags)
        assert "secret" not in str(submitted(run.run_id).get_details())


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"entry_point": "nowhere"}, "nowhere"),
            ({"backend_config": {"COMPUTE": "cpu", "target": "gpu"}}, "must name one compute target"),
            ({"parameters": {"x" * 300: "1"}}, "x"),
            ({"experiment_id": "77"}, "77"),
        ],
        ids=["entry point", "two targets", "param", "experiment"],
    )
    def test_what_is_wrong_is_named_and_leaves_no_run(
        self, client: MlflowClient, project: Project, given: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ExecutionException, match=said):
            mlflow.projects.run(str(project()), backend="amlstore", env_manager="local", **given)
        assert client.search_runs(["0"]) == []

    def test_a_docker_project(self, client: MlflowClient, project: Project) -> None:
        with pytest.raises(ExecutionException, match="docker_env is not supported"):
            mlflow.projects.run(str(project("docker_env: {image: python}")), backend="amlstore")
        assert client.search_runs(["0"]) == []

    def test_another_tracking_uri_is_named_with_the_way_out(
        self, project: Project, sqlite_client: MlflowClient
    ) -> None:
        with mlflow_pointed_at(sqlite_client.tracking_uri), pytest.raises(ExecutionException) as raised:
            mlflow.projects.run(str(project()), backend="amlstore")
        assert sqlite_client.tracking_uri in str(raised.value)
        assert "`amlstore uri`" in str(raised.value)

    def test_a_folder_without_a_workspace(self, project: Project, tmp_path: Path) -> None:
        backend = ProjectBackend()
        with pytest.raises(ExecutionException, match="amlstore init"):
            backend.run(str(project()), "main", {}, None, {}, f"amlstore://{tmp_path}/empty", "0")


PYTHON_ENV = """\
python: "3.11"
build_dependencies: [setuptools]
dependencies: [-r requirements.txt, "nothing-like-this==1"]
"""
CONDA = """\
channels: [conda-forge]
dependencies: [python=3.11, pip, {pip: ["nothing-like-this==1"]}]
"""


class TestTheEnvironment:
    @pytest.mark.parametrize(
        ("files", "options", "pip"),
        [
            ({"python_env.yaml": PYTHON_ENV}, {}, ["setuptools", "nothing-like-this==1"]),
            ({"python_env.yaml": PYTHON_ENV}, {"env_manager": "virtualenv"}, ["setuptools", "nothing-like-this==1"]),
            ({"conda.yaml": CONDA}, {}, ["nothing-like-this==1"]),
            ({"conda.yaml": CONDA}, {"env_manager": "conda"}, ["nothing-like-this==1"]),
            ({"conda.yaml": CONDA}, {"env_manager": "virtualenv"}, ["pip", "nothing-like-this==1"]),
        ],
        ids=["python_env", "python_env virtualenv", "conda", "conda conda", "conda virtualenv"],
    )
    def test_it_is_the_one_that_the_project_describes(
        self,
        client: MlflowClient,
        project: Project,
        submitted: Submitted,
        files: dict[str, str],
        options: dict[str, Any],
        pip: list[str],
    ) -> None:
        folder = project(**files, **{"requirements.txt": ""})
        run = submitted(mlflow.projects.run(str(folder), backend="amlstore", synchronous=False, **options).run_id)
        environment = run.get_environment()
        run.cancel()
        run.wait_for_completion(raise_on_error=False)
        assert environment.name == "lines"
        assert not environment.python.user_managed_dependencies
        assert environment.python.conda_dependencies.get_python_version() == "3.11"
        assert environment.python.conda_dependencies.pip_packages == pip

    @pytest.mark.parametrize(
        ("files", "options"),
        [
            ({}, {}),
            ({"python_env.yaml": PYTHON_ENV}, {"env_manager": "local"}),
            ({"conda.yaml": CONDA}, {"backend_config": {"USE_CONDA": False}}),
        ],
        ids=["no file", "local", "USE_CONDA"],
    )
    def test_it_is_this_interpreter_where_none_is_wanted(
        self,
        client: MlflowClient,
        project: Project,
        submitted: Submitted,
        files: dict[str, str],
        options: dict[str, Any],
    ) -> None:
        folder = project(**files, **{"which.py": "import sys\nprint(sys.executable)\n"})
        run = mlflow.projects.run(str(folder), "which.py", backend="amlstore", **options)
        assert submitted(run.run_id).get_environment().python.user_managed_dependencies
        assert log_of(submitted(run.run_id)) == f"{sys.executable}\n"

    def test_conda_needs_a_conda_file(self, client: MlflowClient, project: Project) -> None:
        folder = project(**{"python_env.yaml": PYTHON_ENV})
        with pytest.raises(ExecutionException, match="env_manager"):
            mlflow.projects.run(str(folder), backend="amlstore", env_manager="conda")
