"""`ScriptRunConfig`: what a submission is made of, and which of several statements counts."""

import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_amlstore.core import Environment, RunConfiguration, ScriptRunConfig
from mlflow_amlstore.core.run_configuration import (
    DockerConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
)
from mlflow_amlstore.core.script_run_config import checked_source
from mlflow_amlstore.errors import (
    AmlStoreError,
    InvalidValue,
    NotSupported,
    ScriptNotFound,
    SourceFolderNotFound,
    UnknownAttribute,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "steps").mkdir(parents=True)
    (folder / "train.py").write_text("print('hello')")
    (folder / "steps" / "clean.py").write_text("print('clean')")
    (tmp_path / "outside.py").write_text("print('outside')")
    return folder


def test_the_arguments_are_the_sdks_in_its_order() -> None:
    signature = inspect.signature(ScriptRunConfig)
    assert {name: each.default for name, each in signature.parameters.items()} == {
        "source_directory": inspect.Parameter.empty,
        "script": None,
        "arguments": None,
        "run_config": None,
        "_telemetry_values": None,
        "compute_target": None,
        "environment": None,
        "distributed_job_config": None,
        "resume_from": None,
        "max_run_duration_seconds": 2592000,
        "command": None,
        "docker_runtime_config": None,
    }
    assert ScriptRunConfig.MAX_DURATION_SECONDS_DEFAULT == 2592000


class TestWithoutARunConfig:
    def test_a_script_with_arguments_runs_here_for_thirty_days_at_most(self) -> None:
        definition = ScriptRunConfig("src", script="train.py", arguments=["--alpha", 0.5]).definition()
        assert (definition["script"], definition["arguments"]) == ("train.py", ["--alpha", "0.5"])
        assert (definition["target"], definition["maxRunDurationSeconds"]) == ("local", 2592000)
        assert (definition["framework"], definition["communicator"], definition["nodeCount"]) == ("Python", "None", 1)

    def test_target_environment_duration_and_docker_go_into_its_run_config(self) -> None:
        environment, docker = Environment("mine"), DockerConfiguration(use_docker=True)
        config = ScriptRunConfig(
            "src",
            "train.py",
            compute_target="cpu",
            environment=environment,
            max_run_duration_seconds=60,
            docker_runtime_config=docker,
        )
        assert config.run_config.target == "cpu"
        assert config.run_config.environment is environment
        assert config.run_config.docker is docker
        assert config.run_config.max_run_duration_seconds == 60

    @pytest.mark.parametrize(
        ("distributed", "expected"),
        [
            (MpiConfiguration(4), ("Python", "IntelMpi", 1, "mpi")),
            (PyTorchConfiguration(process_count=8, node_count=2), ("PyTorch", "nccl", 2, "pytorch")),
            (PyTorchConfiguration("Gloo"), ("PyTorch", "gloo", 1, "pytorch")),
            (TensorflowConfiguration(3, 0), ("TensorFlow", "ParameterServer", 3, "tensorflow")),
        ],
        ids=repr,
    )
    def test_a_distributed_job_says_framework_communicator_and_nodes(
        self, distributed: Any, expected: tuple[object, ...]
    ) -> None:
        run_config = ScriptRunConfig("src", "train.py", distributed_job_config=distributed).run_config
        framework, communicator, nodes, section = expected
        assert (run_config.framework, run_config.communicator) == (framework, communicator)
        assert run_config.node_count == nodes
        assert getattr(run_config, str(section)) is distributed

    def test_anything_else_as_a_distributed_job_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match="'mpi' for distributed_job_config: must be an MpiConfiguration"):
            ScriptRunConfig("src", "train.py", distributed_job_config="mpi")  # type: ignore[arg-type]


class TestWithARunConfig:
    def test_it_is_used_as_it_is_and_says_what_isnt_given(self, caplog: pytest.LogCaptureFixture) -> None:
        run_config = RunConfiguration("train.py", ["-v"])
        config = ScriptRunConfig("src", run_config=run_config)
        assert config.run_config is run_config
        assert (config.script, config.arguments, config.command) == ("train.py", ["-v"], None)
        assert config.definition()["maxRunDurationSeconds"] is None
        assert caplog.records == []

    def test_what_is_given_beside_it_is_ignored_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        run_config = RunConfiguration()
        ScriptRunConfig(
            "src",
            "train.py",
            run_config=run_config,
            compute_target="cpu",
            environment=Environment("mine"),
            distributed_job_config=MpiConfiguration(4),
            max_run_duration_seconds=60,
            docker_runtime_config=DockerConfiguration(use_docker=True),
        )
        assert run_config.definition() == RunConfiguration().definition()
        assert [record.getMessage() for record in caplog.records] == [
            "ScriptRunConfig has a run_config, so these are ignored: compute_target, environment, "
            "distributed_job_config, max_run_duration_seconds, docker_runtime_config"
        ]

    def test_script_and_arguments_given_beside_it_win_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        run_config = RunConfiguration("old.py", ["--old"])
        definition = ScriptRunConfig("src", "train.py", ["--new"], run_config=run_config).definition()
        assert (definition["script"], definition["arguments"]) == ("train.py", ["--new"])
        assert [record.getMessage() for record in caplog.records] == [
            "ScriptRunConfig is given script, which beats that of its run_config",
            "ScriptRunConfig is given arguments, which beats that of its run_config",
        ]
        assert run_config.script == "old.py"  # which another submission may use

    def test_a_command_given_beside_it_wins_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        definition = ScriptRunConfig("src", run_config=RunConfiguration(command="ls"), command="pwd").definition()
        assert definition["command"] == "pwd"
        assert [record.getMessage() for record in caplog.records] == [
            "ScriptRunConfig is given command, which beats that of its run_config"
        ]

    def test_anything_else_in_its_place_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match="'local' for run_config: must be a RunConfiguration"):
            ScriptRunConfig("src", run_config="local")  # type: ignore[arg-type]


class TestDefinition:
    def test_it_has_what_was_set_after_the_config_was_made(self) -> None:
        config = ScriptRunConfig("src")
        config.script, config.arguments = "train.py", ["-v"]
        config.run_config.target = "cpu"
        config.run_config.history.snapshot_project = False
        definition = config.definition()
        assert (definition["script"], definition["arguments"]) == ("train.py", ["-v"])
        assert (definition["target"], definition["history"]["snapshotProject"]) == ("cpu", False)

    def test_several_configs_can_share_a_run_config(self) -> None:
        run_config = RunConfiguration()
        configs = [ScriptRunConfig("src", "train.py", [n], run_config=run_config) for n in range(3)]
        assert [config.definition()["arguments"] for config in configs] == [["0"], ["1"], ["2"]]

    def test_a_script_is_told_below_the_folder_however_it_was_written(self, source: Path) -> None:
        (source.parent / "link").symlink_to(source)
        for folder in (source, source.parent / "link"):
            for script in ("steps/clean.py", "./steps/../steps/clean.py", str(folder / "steps" / "clean.py")):
                assert ScriptRunConfig(folder, script).definition()["script"] == "steps/clean.py"

    @pytest.mark.parametrize("given", [{}, {"script": "train.py", "command": "ls"}])
    def test_either_a_script_or_a_command_is_needed(self, given: dict[str, str]) -> None:
        with pytest.raises(InvalidValue, match="for script: give either a script or a command"):
            ScriptRunConfig("src", **given).definition()  # type: ignore[arg-type]

    def test_a_command_has_its_arguments_in_itself(self) -> None:
        with pytest.raises(InvalidValue, match="for arguments: are a script's"):
            ScriptRunConfig("src", command=["ls"], arguments=["-l"]).definition()


class TestSource:
    def test_it_is_the_folder_that_has_the_script(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(source.parent)
        assert checked_source(ScriptRunConfig("src", "train.py")) == source.resolve()
        assert checked_source(ScriptRunConfig(source, run_config=RunConfiguration("steps/clean.py"))) == source
        assert checked_source(ScriptRunConfig(source, command="ls")) == source

    def test_a_missing_script_is_told_as_the_sdk_tells_it(self, source: Path) -> None:
        config = ScriptRunConfig(source, "never.py")  # which is no error yet
        with pytest.raises(ScriptNotFound) as raised:
            checked_source(config)
        assert str(raised.value) == (
            f"{source / 'never.py'} script path doesn't exist. The script should be inside the project folder"
        )
        assert isinstance(raised.value, AmlStoreError)

    @pytest.mark.parametrize("script", ["../outside.py", "steps", "{parent}/outside.py"])
    def test_what_isnt_a_file_inside_the_folder_is_no_script(self, source: Path, script: str) -> None:
        with pytest.raises(ScriptNotFound, match="should be inside the project folder"):
            checked_source(ScriptRunConfig(source, script.format(parent=source.parent)))

    @pytest.mark.parametrize("folder", ["never", "src/train.py"])
    def test_a_missing_folder_is_a_file_not_found_as_in_the_sdk(
        self, source: Path, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(source.parent)
        config = ScriptRunConfig(folder, "train.py")
        with pytest.raises(FileNotFoundError, match="for source_directory: must be a folder that is there") as raised:
            checked_source(config)
        assert isinstance(raised.value, SourceFolderNotFound)

    def test_what_is_no_path_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match="None for source_directory: must be the path of a folder"):
            checked_source(ScriptRunConfig(None, "train.py"))  # type: ignore[arg-type]

    @pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
    def test_a_script_in_a_linked_folder_elsewhere_isnt_inside(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "x.py").touch()
        (source / "linked").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ScriptNotFound):
            checked_source(ScriptRunConfig(source, "linked/x.py"))


def test_what_has_no_place_here_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="ScriptRunConfig with resume_from is not supported"):
        ScriptRunConfig("src", "train.py", resume_from=object())
    config = ScriptRunConfig("src", "train.py")
    with pytest.raises(
        UnknownAttribute, match=r"ScriptRunConfig has no attribute 'compute_target'; it has .*run_config"
    ):
        config.compute_target = "cpu"
