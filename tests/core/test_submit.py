"""`experiment.submit`: a script's folder becomes a run, which goes on by itself and keeps what the script does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked_service import ForkedService
from waiting import is_running, wait_for

from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.core import Environment, Experiment, Run, Workspace
from mlflow_amlstore.core.compute import AmlCompute, ComputeTarget
from mlflow_amlstore.core.run_configuration import MpiConfiguration, PyTorchConfiguration
from mlflow_amlstore.core.script_run import ScriptRun
from mlflow_amlstore.core.script_run_config import ScriptRunConfig
from mlflow_amlstore.errors import ActivityFailed, InvalidValue, NotFound, NotSupported
from mlflow_amlstore.records.types import RunStatus
from mlflow_amlstore.runner import launch
from mlflow_amlstore.runner.launch import RunFolder
from mlflow_amlstore.runner.preparation_log import node_name
from mlflow_amlstore.workspace.opening import open_folder

LOG = "user_logs/std_log.txt"
PREPARATION = f"azureml-logs/65_job_prep-{node_name()}.txt"
END = f"azureml-logs/75_job_post-{node_name()}.txt"
Source = Callable[..., Path]


@pytest.fixture(scope="module", params=["folder", "service"])
def workspace(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A workspace in a folder, and one behind a service, to which this machine submits."""
    folder = tmp_path_factory.mktemp("workspace")
    if request.param == "folder":
        ws = Workspace.create(folder)
        yield ws
        ws.close()
        return
    with ForkedService(folder) as service:
        ws = Workspace.from_url(service.url, KeyCredential(service.url, service.key))
        yield ws
        ws.close()


@pytest.fixture
def experiment(workspace: Workspace) -> Experiment:
    return Experiment(workspace, "submitted")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Writes a folder with a script, and other files by their names."""

    def write(script: str, **files: str) -> Path:
        folder = tmp_path / "source"
        for name, text in {"train.py": script, **files}.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return folder

    return write


def log_of(run: Run, path: str = LOG) -> str:
    return run.get_details_with_logs()["logFiles"][path]


def said_in(run: Run, path: str) -> list[str]:
    """The lines of a runner's log, without the time with which each begins."""
    lines = [
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.+)", line) for line in log_of(run, path).splitlines()
    ]
    return [line[1] for line in lines if line]


def key_of(workspace: Workspace) -> dict[str, str]:
    """What lets another process submit: over a service, a key."""
    if workspace.path is not None:
        return {}
    return {"AMLSTORE_KEY": workspace._backend.remote.connection._token.source.credential.key}  # type: ignore[attr-defined]


class TestAScript:
    def test_it_runs_in_a_copy_of_its_folder_with_its_arguments(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import sys, os, helper\nprint(sys.argv[1:], os.path.basename(os.getcwd()), helper.WORD)\n",
            **{"helper.py": "WORD = 'from the helper'\n"},
        )
        config = ScriptRunConfig(str(folder), script="train.py", arguments=["--alpha", 0.1, "a b\n'c'"])
        run = experiment.submit(config, tags={"stage": "try"})
        details = run.wait_for_completion()
        assert details["status"] == "Completed"
        assert log_of(run) == "['--alpha', '0.1', \"a b\\n'c'\"] source from the helper\n"
        assert run.get_tags() == {"stage": "try"}
        assert re.fullmatch(r"submitted_\d+_[0-9a-f]{8}", run.id)
        assert details["runDefinition"]["arguments"] == ["--alpha", "0.1", "a b\n'c'"]
        wait_for(lambda: not RunFolder.of(run.id).path.exists())

    def test_what_it_logs_by_every_vocabulary_is_in_its_run(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import mlflow\n"
            "from azureml.core.run import Run\n"
            "run = Run.get_context()\n"
            "run.log('mse', 0.5)\n"
            "with mlflow.start_run():\n"
            "    mlflow.log_metric('by mlflow', 2.0)\n"
            "    mlflow.log_param('alpha', 0.03)\n"
            "print(run.id)\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        run.wait_for_completion()
        assert run.get_metrics() == {"mse": 0.5, "by mlflow": 2.0}
        assert run.get_details()["params"] == {"alpha": "0.03"}
        assert log_of(run).splitlines()[-1] == run.id

    @pytest.mark.needs("torch", "pytorch_lightning")
    def test_the_first_plain_logger_of_lightnings_logs_into_its_run(
        self, experiment: Experiment, source: Source
    ) -> None:
        folder = source(
            "import mlflow, os\n"
            "with mlflow.start_run() as run:\n"  # which removes MLFLOW_RUN_ID
            "    pass\n"
            "from azureml.core import Run\n"
            "from pytorch_lightning.loggers import MLFlowLogger\n"
            "uri = Run.get_context().experiment.workspace.get_mlflow_tracking_uri()\n"
            "tagged = {'tags': {'team': 'vision'}, 'tracking_uri': uri}\n"
            "for given in ({'run_name': 'own'}, {'experiment_name': 'other'}, {'nosuch': 1}, tagged, {}):\n"
            "    try:\n"
            "        logger = MLFlowLogger(**given)\n"
            "        logger.log_metrics({'loss': 0.5})\n"
            "        print(*given, 'in the run' if logger.run_id == run.info.run_id else 'elsewhere')\n"
            "    except TypeError as error:\n"
            "        print(error)\n"
            "print(os.environ['STARTED_BY'])\n",
            **{"sitecustomize.py": "import os\nos.environ['STARTED_BY'] = 'the sitecustomize of the script'\n"},
        )
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        run.wait_for_completion()
        said = [line for line in log_of(run).splitlines() if not line.startswith("Experiment with name")]  # Lightning's
        assert said[-6:] == [
            "run_name elsewhere",
            "experiment_name elsewhere",
            "MLFlowLogger.__init__() got an unexpected keyword argument 'nosuch'",
            "tags tracking_uri in the run",
            "elsewhere",
            "the sitecustomize of the script",
        ]
        assert run.get_tags()["team"] == "vision"
        assert run.get_metrics() == {"loss": 0.5}

    @pytest.mark.needs("torch", "pytorch_lightning")
    def test_a_logger_of_another_place_logs_there(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import mlflow, os\n"
            "os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'\n"
            "mlflow.set_tracking_uri('sqlite:///other.db')\n"
            "os.environ['MLFLOW_EXPERIMENT_NAME'] = 'other'\n"
            "from pytorch_lightning.loggers import MLFlowLogger\n"
            "for given in ({'tracking_uri': None}, {}, {'experiment_name': 'other'}):\n"
            "    logger = MLFlowLogger(**given)\n"
            "    logger.log_metrics({'loss': 0.5})\n"
            "    print(logger.run_id == os.environ['AZUREML_RUN_ID'])\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        run.wait_for_completion()
        assert [line for line in log_of(run).splitlines() if line in ("True", "False")] == ["False"] * 3
        assert run.get_metrics() == {}

    def test_each_sitecustomize_runs_once_where_another_installation_submits(
        self, experiment: Experiment, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(Path(launch.__file__).parent / "startup", tmp_path / "another")
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "sitecustomize.py").write_text("print('ran')\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "another"), str(tmp_path / "own")]))
        run = experiment.submit(ScriptRunConfig(str(source("print('script')\n")), script="train.py"))
        run.wait_for_completion()
        assert log_of(run) == "ran\nscript\n"

    def test_its_outputs_and_logs_are_kept_and_its_source(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import os\n"
            "os.makedirs('outputs/deep', exist_ok=True)\n"
            "open('outputs/deep/model.txt', 'w').write('model')\n"
            "open('logs/own.txt', 'w').write('own')\n",
            **{"outputs/old.txt": "was there", "data/x.csv": "1\n", ".amlignore": "data\n"},
        )
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        run.wait_for_completion()
        assert run.get_file_names() == [
            PREPARATION, "azureml-logs/70_driver_log.txt", END, "logs/own.txt", "outputs/deep/model.txt", LOG,
        ]  # fmt: skip
        files = run.restore_snapshot(path=str(folder.parent))
        assert "train.py" in subprocess.check_output([sys.executable, "-m", "zipfile", "-l", files], text=True)

    def test_what_changes_later_in_the_folder_changes_nothing(self, experiment: Experiment, source: Source) -> None:
        folder = source("import time\ntime.sleep(0.3)\nprint(open('word.txt').read())\n", **{"word.txt": "before"})
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        (folder / "word.txt").write_text("after")
        run.wait_for_completion()
        assert log_of(run) == "before\n"

    def test_a_command_runs_in_a_shell(self, experiment: Experiment, source: Source) -> None:
        config = ScriptRunConfig(str(source("")), command=["echo", "$WORD", "&&", "pwd"])
        config.run_config.environment_variables = {"WORD": "from a variable"}
        run = experiment.submit(config)
        run.wait_for_completion()
        assert log_of(run).splitlines()[0] == "from a variable"

    def test_it_outlives_who_submitted_it(self, workspace: Workspace, experiment: Experiment, source: Source) -> None:
        folder = source("import time\ntime.sleep(0.5)\nprint('still here')\n")
        submitter = (
            "import sys, os, signal\n"
            "from mlflow_amlstore.core import Workspace, Experiment\n"
            "from mlflow_amlstore.core.script_run_config import ScriptRunConfig\n"
            "opened = (Workspace.from_url if '://' in sys.argv[1] else Workspace.create)(sys.argv[1])\n"
            "experiment = Experiment(opened, 'submitted')\n"
            "print(experiment.submit(ScriptRunConfig(sys.argv[2], script='train.py')).id, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        place = str(workspace.path or workspace.get_details()["serviceUrl"])
        done = subprocess.run(
            [sys.executable, "-c", submitter, place, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **key_of(workspace)},
        )
        assert done.returncode == -signal.SIGKILL
        run = Run.get(workspace, done.stdout.strip())
        assert isinstance(run, ScriptRun)
        run.wait_for_completion()
        assert log_of(run) == "still here\n"

    def test_what_a_script_submits_outlives_it(
        self, workspace: Workspace, experiment: Experiment, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in key_of(workspace).items():
            monkeypatch.setenv(name, value)
        folder = source(
            "from azureml.core import Run, ScriptRunConfig\n"
            "run = Run.get_context()\n"
            "print(run.submit_child(ScriptRunConfig('.', script='child.py')).id)\n",
            **{"child.py": "import time\ntime.sleep(1)\nprint('still here')\n"},
        )
        run = experiment.submit(ScriptRunConfig(str(folder), script="train.py"))
        assert run.wait_for_completion()["status"] == "Completed"
        child = Run.get(workspace, log_of(run).strip())
        assert child.wait_for_completion()["status"] == "Completed"
        assert log_of(child) == "still here\n"
        assert [found.id for found in run.get_children()] == [child.id]


class TestFailures:
    def test_the_last_lines_are_in_the_error(self, experiment: Experiment, source: Source) -> None:
        run = experiment.submit(
            ScriptRunConfig(str(source("print('so far')\nraise ValueError('wrong alpha')\n")), "train.py")
        )
        with pytest.raises(ActivityFailed) as raised:
            run.wait_for_completion()
        assert "exit code 1" in str(raised.value)
        assert "ValueError: wrong alpha" in str(raised.value)
        assert run.wait_for_completion(raise_on_error=False)["status"] == "Failed"

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("import sys; sys.exit(3)", "exit code 3"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ],
        ids=["exit code", "signal"],
    )
    def test_how_it_ended_is_said(self, experiment: Experiment, source: Source, script: str, said: str) -> None:
        run = experiment.submit(ScriptRunConfig(str(source(script)), "train.py"))
        with pytest.raises(ActivityFailed, match=said):
            run.wait_for_completion()

    def test_what_isnt_there_is_refused_before_there_is_a_run(
        self, workspace: Workspace, experiment: Experiment, source: Source
    ) -> None:
        before = len(list(experiment.get_runs()))
        with pytest.raises(Exception, match="script path doesn't exist"):
            experiment.submit(ScriptRunConfig(str(source("")), "other.py"))
        with pytest.raises(FileNotFoundError):
            experiment.submit(ScriptRunConfig(str(source("") / "nowhere"), "train.py"))
        with pytest.raises(InvalidValue, match="ScriptRunConfig"):
            experiment.submit("train.py")
        with pytest.raises(NotFound, match="no such target"):
            experiment.submit(ScriptRunConfig(str(source("")), "train.py", compute_target="gpu-cluster"))
        with pytest.raises(NotSupported, match="node"):
            experiment.submit(
                ScriptRunConfig(str(source("")), "train.py", distributed_job_config=MpiConfiguration(node_count=2))
            )
        assert len(list(experiment.get_runs())) == before

    def test_an_id_that_leads_elsewhere_touches_nothing_there(
        self, experiment: Experiment, source: Source, tmp_path: Path
    ) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "file.txt").touch()
        with pytest.raises(InvalidValue, match="run_id"):
            experiment.submit(ScriptRunConfig(str(source("")), "train.py"), run_id=str(tmp_path / "kept"))
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file.txt"]

    def test_it_takes_no_longer_than_it_may(self, experiment: Experiment, source: Source) -> None:
        config = ScriptRunConfig(str(source("import time; time.sleep(600)")), "train.py", max_run_duration_seconds=1)
        run = experiment.submit(config)
        with pytest.raises(ActivityFailed, match="max_run_duration_seconds=1"):
            run.wait_for_completion()
        assert said_in(run, END)[:2] == [
            "The script was ended by SIGTERM, as the run was to end",
            "The run took longer than max_run_duration_seconds=1",
        ]

    def test_bytes_that_are_no_text_are_kept(self, experiment: Experiment, source: Source) -> None:
        folder = source("import sys\nsys.stdout.buffer.write(b'\\xff\\xfe' + b'x' * 1_000_000)\n")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        run.wait_for_completion()
        with run._records.files.open(run._container, LOG) as log:
            assert log.read() == b"\xff\xfe" + b"x" * 1_000_000

    def test_what_it_leaves_running_is_ended(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
            "print(child.pid)\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        assert run.wait_for_completion()["status"] == "Completed"
        assert not is_running(int(log_of(run)))


class TestCancel:
    def test_the_script_and_its_children_end(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import os, subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print(os.getpid(), child.pid)\n"
            "time.sleep(600)\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        wait_for(lambda: LOG in run.get_file_names() and len(log_of(run).split()) == 2)
        pids = [int(pid) for pid in log_of(run).split()]
        run.cancel()
        assert run.wait_for_completion()["status"] == "Canceled"
        assert not any(is_running(pid) for pid in pids)

    def test_a_run_that_has_ended_stays_as_it_is(self, experiment: Experiment, source: Source) -> None:
        run = experiment.submit(ScriptRunConfig(str(source("")), "train.py"))
        run.wait_for_completion()
        run.cancel()
        assert run.get_status() == "Completed"

    def test_who_marks_it_canceled_ends_it_too(
        self, workspace: Workspace, experiment: Experiment, source: Source
    ) -> None:
        """As Studio's button and MLflow's `set_terminated(run, "KILLED")` do."""
        folder = source("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        wait_for(lambda: LOG in run.get_file_names() and log_of(run).strip())
        script = int(log_of(run))
        workspace.records.runs.update(run.id, status=RunStatus.CANCELED)
        wait_for(lambda: not is_running(script))
        assert run.get_status() == "Canceled"

    def test_a_run_that_waits_never_starts(self, experiment: Experiment, source: Source) -> None:
        folder = source("import time\nprint('started')\ntime.sleep(600)\n")
        target = ComputeTarget.create(
            experiment.workspace, "one-at-a-time", AmlCompute.provisioning_configuration(max_nodes=1)
        )
        config = ScriptRunConfig(str(folder), "train.py", compute_target=target)
        runs = [experiment.submit(config) for _ in range(2)]
        waits = runs[-1]
        wait_for(lambda: waits.get_status() == "Queued")
        waits.cancel()
        assert waits.wait_for_completion()["status"] == "Canceled"
        assert waits.get_file_names() == [PREPARATION]
        assert said_in(waits, PREPARATION)[-1] == "Canceled"
        for run in runs[:-1]:
            run.cancel()
        assert {run.wait_for_completion()["status"] for run in runs} == {"Canceled"}


class TestKilled:
    def submitted(self, experiment: Experiment, source: Source) -> tuple[ScriptRun, int, int]:
        """A run that has begun, with the process ids of its runner and of its script."""
        folder = source("import os, time\nprint(os.getppid(), os.getpid())\ntime.sleep(600)\n")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        wait_for(lambda: LOG in run.get_file_names() and len(log_of(run).split()) == 2)
        wait_for(lambda: run.get_status() == "Running")
        runner, script = (int(pid) for pid in log_of(run).split())
        return run, runner, script

    def test_a_killed_runner_ends_the_run_and_the_script(self, experiment: Experiment, source: Source) -> None:
        run, runner, script = self.submitted(experiment, source)
        os.kill(runner, signal.SIGKILL)
        wait_for(lambda: run.get_status() == "Failed")
        assert not is_running(script)
        assert "killed" in run.get_details()["error"]["error"]["message"]
        assert log_of(run).split() == [str(runner), str(script)]

    def test_a_killed_script_is_a_failed_run(self, experiment: Experiment, source: Source) -> None:
        run, _, script = self.submitted(experiment, source)
        os.kill(script, signal.SIGKILL)
        with pytest.raises(ActivityFailed, match="SIGKILL"):
            run.wait_for_completion()

    def test_where_nobody_is_left_whoever_looks_ends_the_script_and_says_so(
        self, experiment: Experiment, source: Source
    ) -> None:
        run, runner, script = self.submitted(experiment, source)
        for pid in (next(pid for pid in children_of(runner) if pid != script), runner):
            os.kill(pid, signal.SIGKILL)
        if experiment.workspace.path is None:  # the service can't look into this machine: the next runner does
            experiment.submit(ScriptRunConfig(str(source("")), "train.py")).wait_for_completion()
        wait_for(lambda: run.get_status() == "Failed")
        wait_for(lambda: not is_running(script))
        assert run.get_details()["error"]["error"]["code"] == "RunnerKilled"
        wait_for(lambda: not RunFolder.of(run.id).path.exists())


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_script_that_submits_to_its_own_target_lends_its_slot(experiment: Experiment, source: Source) -> None:
    if experiment.workspace.path is None:
        pytest.skip("the token of a run may not submit")
    target = f"narrow-{uuid.uuid4().hex[:8]}"
    ComputeTarget.create(experiment.workspace, target, AmlCompute.provisioning_configuration(max_nodes=1))
    folder = source(
        "import sys\n"
        "from azureml.core import Run, ScriptRunConfig\n"
        "depth = int(sys.argv[1])\n"
        "if depth:\n"
        "    config = ScriptRunConfig('.', 'train.py', [depth - 1], compute_target=sys.argv[2])\n"
        "    config.arguments.append(sys.argv[2])\n"
        "    print(Run.get_context().submit_child(config).wait_for_completion()['status'])\n"
    )
    run = experiment.submit(ScriptRunConfig(str(folder), "train.py", [2, target], compute_target=target))
    assert run.wait_for_completion()["status"] == "Completed"
    assert log_of(run) == "Completed\n"


def test_a_run_that_is_removed_for_good_ends(experiment: Experiment, source: Source) -> None:
    if experiment.workspace.path is None:
        pytest.skip("only who has the folder can remove a run for good")
    folder = source("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
    wait_for(lambda: LOG in run.get_file_names() and log_of(run))
    script = int(log_of(run))
    records = open_folder(experiment.workspace.path).records
    records.runs.delete(run.id)
    records.trash.remove_run(run.id)
    wait_for(lambda: not is_running(script))
    wait_for(lambda: not RunFolder.of(run.id).path.exists())


class TestSeveralProcesses:
    SCRIPT = "import os\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'])\n"

    @pytest.mark.parametrize(
        "of", [PyTorchConfiguration(process_count=2), MpiConfiguration(process_count_per_node=2)], ids=["torch", "mpi"]
    )
    def test_each_has_its_rank_and_its_log(self, experiment: Experiment, source: Source, of: object) -> None:
        config = ScriptRunConfig(str(source(self.SCRIPT)), "train.py", distributed_job_config=of)
        run = experiment.submit(config)
        run.wait_for_completion()
        assert [log_of(run, f"user_logs/std_log_process_{rank}.txt") for rank in (0, 1)] == ["0 2 0\n", "1 2 1\n"]

    def test_one_that_fails_ends_the_others(self, experiment: Experiment, source: Source) -> None:
        script = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(7)\ntime.sleep(600)\n"
        config = ScriptRunConfig(
            str(source(script)), "train.py", distributed_job_config=PyTorchConfiguration(process_count=2)
        )
        with pytest.raises(ActivityFailed, match="Rank 1 of the script ended with exit code 7"):
            experiment.submit(config).wait_for_completion()


class TestOutput:
    def test_it_is_shown_as_it_comes_in_the_sdks_words(
        self, experiment: Experiment, source: Source, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        folder = source("import sys\nprint('epoch 1: loss=', end='', flush=True)\nprint('0.5')\nprint('\\r50 %')\n")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"), show_output=True)
        assert run.get_status() == "Completed"
        shown = capfdbinary.readouterr().out.decode()
        where = f"RunId: {run.id}\nWeb View: {run.get_portal_url()}\n"
        assert shown == (
            f"{where}\nStreaming {PREPARATION}\n{'=' * (len(PREPARATION) + 10)}\n\n{log_of(run, PREPARATION)}"
            f"\nStreaming {LOG}\n{'=' * (len(LOG) + 10)}\n\nepoch 1: loss=0.5\n\r50 %\n"
            f"\nExecution Summary\n=================\n{where}"
        )

    def test_a_line_is_shown_while_the_script_runs(self, experiment: Experiment, source: Source) -> None:
        folder = source("import time\nprint('first')\nwhile True: time.sleep(1)\n")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        wait_for(lambda: LOG in run.get_file_names() and log_of(run) == "first\n")
        assert run.get_status() == "Running"
        run.cancel()
        run.wait_for_completion()


class TestLogsOfTheRunner:
    """Azure ML's names, each where there is something to say."""

    def test_what_it_did_before_and_after_the_script(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import os; open('outputs/model.txt', 'w').write('model'); print(os.getpid())", **{"b.txt": "b"}
        )
        target = f"free-{uuid.uuid4().hex[:8]}"  # whose slot nobody else has
        ComputeTarget.create(experiment.workspace, target, AmlCompute.provisioning_configuration(max_nodes=1))
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py", compute_target=target))
        run.wait_for_completion()
        size_bytes = sum(file.stat().st_size for file in folder.iterdir())
        assert said_in(run, PREPARATION) == [
            f"Copied the source folder: 2 files, {size_bytes} bytes",
            f"Environment 'default-environment' needs nothing built. Python: {sys.executable}",
            f"Started the script as process {log_of(run).strip()}",
        ]
        assert said_in(run, END) == [
            "The script ended with exit code 0",
            "Uploaded 1 file of outputs/ and logs/, 5 bytes",
            "Removing the run's folder on this machine",
        ]

    def test_a_script_that_failed(self, experiment: Experiment, source: Source) -> None:
        run = experiment.submit(ScriptRunConfig(str(source("import sys; sys.exit(3)")), "train.py"))
        run.wait_for_completion(raise_on_error=False)
        assert said_in(run, END)[:2] == [
            "The script ended with exit code 3",
            "Uploaded 0 files of outputs/ and logs/, 0 bytes",
        ]

    def test_the_place_in_the_queue_is_shown_while_it_waits(self, experiment: Experiment, source: Source) -> None:
        folder = source("import os, time\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.02)\n")
        target = ComputeTarget.create(experiment.workspace, "alone", AmlCompute.provisioning_configuration(max_nodes=1))
        config = ScriptRunConfig(str(folder), "train.py", compute_target=target)
        config.run_config.environment_variables = {"GO": str(folder / "go")}
        first = experiment.submit(config)
        wait_for(lambda: first.get_status() == "Running")
        second, third = (experiment.submit(config) for _ in range(2))
        waiting = "Waiting for the slot of compute target alone: "
        wait_for(lambda: PREPARATION in third.get_file_names() and waiting in log_of(third, PREPARATION))
        assert said_in(third, PREPARATION)[1:] == [f"{waiting}1 before this run"]
        (folder / "go").touch()
        for run in (first, second, third):
            assert run.wait_for_completion()["status"] == "Completed"
        *_, has_slot, environment, started = said_in(third, PREPARATION)
        assert re.fullmatch(r"Got a slot after \d+\.\d s", has_slot)
        assert environment.startswith("Environment")
        assert started.startswith("Started the script")

    def test_an_environment_that_cant_be_had(self, experiment: Experiment, source: Source) -> None:
        environment = Environment("nowhere")
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = "/nowhere/python"
        run = experiment.submit(ScriptRunConfig(str(source("")), "train.py", environment=environment))
        run.wait_for_completion(raise_on_error=False)
        assert run.get_file_names() == [PREPARATION]
        assert "no program is there" in said_in(run, PREPARATION)[-1]

    @pytest.mark.parametrize("of", [PyTorchConfiguration(process_count=2), MpiConfiguration(2)], ids=["torch", "mpi"])
    def test_several_ranks_are_told_of_one_by_one(self, experiment: Experiment, source: Source, of: object) -> None:
        script = (
            "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(7)\nprint(os.getpid())\ntime.sleep(600)\n"
        )
        run = experiment.submit(ScriptRunConfig(str(source(script)), "train.py", distributed_job_config=of))
        run.wait_for_completion(raise_on_error=False)
        logs = ["user_logs/std_log_process_0.txt", "user_logs/std_log_process_1.txt"]
        infos = [json.loads(line) for line in log_of(run, "azureml-logs/process_info.json").splitlines()]
        assert [(each["process_name"], each["log"]) for each in infos] == [
            ("process_0", logs[0]),
            ("process_1", logs[1]),
        ]
        assert {(each["node_id"], each["private_ip"]) for each in infos} == {(node_name(), "127.0.0.1")}
        pids = [each["pid_in_container"] for each in infos]
        assert log_of(run, logs[0]) in (f"{pids[0]}\n", "")  # it may have been ended before
        statuses = [json.loads(line) for line in log_of(run, "azureml-logs/process_status.json").splitlines()]
        assert [(each["process_name"], each["status"]) for each in statuses] == [
            ("process_0", "Started"), ("process_1", "Started"), ("process_1", "Failed"), ("process_0", "Terminated"),
        ]  # fmt: skip
        ended = ["Rank 1 ended with exit code 7", "Rank 0 was ended by SIGTERM, as the run was to end"]
        assert said_in(run, END)[:2] == ended
        mpi = "azureml-logs/70_mpi_log.txt"
        if isinstance(of, MpiConfiguration):
            command = f"{sys.executable} -u train.py"
            started = [f"Rank {number} is process {pid}: {command}" for number, pid in enumerate(pids)]
            assert said_in(run, mpi) == [*started, *ended]
        else:
            assert mpi not in run.get_file_names()


class TestThisPackagesOwnLog:
    OWN = "logs/azureml/110_azureml.log"

    def test_the_console_gets_what_it_would_have_got(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import logging\n"
            "logging.basicConfig(level=logging.INFO)\n"
            "from azureml.core import Run\n"
            "Run.get_context().log('loss', 0.5)\n"
            "Run.get_context().flush()\n"
            "logger = logging.getLogger('mlflow_amlstore.of.a.test')\n"
            "logger.debug('fine')\n"
            "logger.info('token=%s', 'secret')\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        run.wait_for_completion()
        assert log_of(run) == "INFO:mlflow_amlstore.of.a.test:token=secret\n"
        own = log_of(run, self.OWN)
        assert re.search(r"Z DEBUG \d+ mlflow_amlstore\.core\.buffered_log: Wrote 1 values of run", own)
        assert "fine\n" in own
        assert "token=REDACTED\n" in own

    def test_a_warning_is_on_the_console_of_a_script_that_says_nothing_of_logging(
        self, experiment: Experiment, source: Source
    ) -> None:
        folder = source(
            "import logging\n"
            "from azureml.core import Run\n"
            "Run.get_context()\n"
            "logging.getLogger('mlflow_amlstore.of.a.test').warning('careful')\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        run.wait_for_completion()
        assert log_of(run) == "careful\n"
        assert "WARNING" in log_of(run, self.OWN)

    def test_there_is_none_where_it_logs_nothing(self, experiment: Experiment, source: Source) -> None:
        run = experiment.submit(ScriptRunConfig(str(source("import mlflow_amlstore.core")), "train.py"))
        run.wait_for_completion()
        assert self.OWN not in run.get_file_names()

    def test_it_ends_before_it_is_long_but_for_warnings(self, experiment: Experiment, source: Source) -> None:
        folder = source(
            "import logging\n"
            "from azureml.core import Run\n"
            "Run.get_context()\n"
            "logger = logging.getLogger('mlflow_amlstore.of.a.test')\n"
            "for _ in range(1000): logger.debug('x' * 1000)\n"
            "logger.warning('the end')\n"
        )
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        run.wait_for_completion()
        own = log_of(run, self.OWN)
        assert len(own) < 300_000
        assert own.endswith("the end\n")


class TestWhereTheSdkIsInstalledToo:
    SCRIPT = "import azureml.core; print(azureml.core.__file__)"

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package `azureml.core` on the path of whatever Python is started."""
        file = tmp_path / "installed" / "azureml" / "core" / "__init__.py"
        file.parent.mkdir(parents=True)
        file.touch()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"), prepend=os.pathsep)
        return file

    def test_a_script_gets_this_package_and_its_log_says_so(self, experiment: Experiment, source: Source) -> None:
        run = experiment.submit(ScriptRunConfig(str(source(self.SCRIPT)), "train.py"))
        run.wait_for_completion()
        assert "mlflow_amlstore" in log_of(run)
        assert said_in(run, PREPARATION)[-1] == (
            "`azureml` means mlflow_amlstore in the script. Azure ML's own SDK is installed, too: "
            'submit(…, azureml="sdk") chooses that'
        )

    def test_the_submission_chooses_the_other_one(
        self, experiment: Experiment, source: Source, installed: Path
    ) -> None:
        run = experiment.submit(ScriptRunConfig(str(source(self.SCRIPT)), "train.py"), azureml="sdk")
        run.wait_for_completion()
        assert log_of(run) == f"{installed}\n"
        assert said_in(run, PREPARATION)[-1].startswith("`azureml` means Azure ML's own SDK in the script")

    def test_there_is_no_third_one(self, experiment: Experiment, source: Source) -> None:
        with pytest.raises(InvalidValue, match='for azureml: must be "amlstore" or "sdk"'):
            experiment.submit(ScriptRunConfig(str(source("")), "train.py"), azureml="azure")


class TestVocabulary:
    def test_a_childs_parent_is_the_run_that_submitted_it(self, experiment: Experiment, source: Source) -> None:
        with experiment.start_logging(snapshot_directory=None) as parent:
            child = parent.submit_child(ScriptRunConfig(str(source("print('child')")), "train.py"), tags={"fold": "1"})
            child.wait_for_completion()
        assert [found.id for found in parent.get_children()] == [child.id]
        assert child.parent is not None
        assert child.parent.id == parent.id

    def test_its_environment_is_known_afterwards(self, experiment: Experiment, source: Source) -> None:
        environment = Environment("diabetes")
        environment.python.user_managed_dependencies = True
        environment.environment_variables = {"OMP_NUM_THREADS": "2"}
        folder = source("import os; print(os.environ['OMP_NUM_THREADS'])")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py", environment=environment))
        assert isinstance(run, ScriptRun)
        run.wait_for_completion()
        assert log_of(run) == "2\n"
        assert run.get_environment().name == "diabetes"
        assert run.get_environment().environment_variables == {"OMP_NUM_THREADS": "2"}
        assert run.type == "azureml.scriptrun"
        wait_for(lambda: not RunFolder.of(run.id).path.exists())
        assert run.clean() == []

    def test_the_commit_is_a_property(self, experiment: Experiment, source: Source) -> None:
        folder = source("")
        git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        for arguments in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *arguments], check=True)
        subprocess.run([*git, "remote", "add", "origin", "https://me:secret@example.com/x.git"], check=True)
        (folder / "train.py").write_text("print()")
        run = experiment.submit(ScriptRunConfig(str(folder), "train.py"))
        properties = run.get_properties()
        assert properties["azureml.git.branch"] == "trunk"
        assert properties["azureml.git.dirty"] == "True"
        assert properties["mlflow.source.git.repoURL"] == "https://example.com/x.git"
        assert re.fullmatch("[0-9a-f]{40}", properties["mlflow.source.git.commit"])
        run.wait_for_completion()


class TestSnapshotLimits:
    def test_too_many_files_are_refused_with_the_folders_that_have_most(
        self, experiment: Experiment, source: Source
    ) -> None:
        folder = source("")
        for name, count in {"data": 1990, "images": 20}.items():
            (folder / name).mkdir()
            for number in range(count):
                (folder / name / f"{number}.txt").touch()
        config = ScriptRunConfig(str(folder), "train.py")
        with pytest.raises(InvalidValue) as raised:
            experiment.submit(config)
        assert "has 2011 files, and 2000 files is the limit" in str(raised.value)
        assert "Most are in data/ (0 MB, 1990 files), images/ (0 MB, 20 files)" in str(raised.value)
        (folder / ".amlignore").write_text("data/\n")  # the line that the error gives
        assert "the line `data/`" in str(raised.value)
        assert experiment.submit(config).wait_for_completion()["status"] == "Completed"
