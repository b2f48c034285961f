"""`RunConfiguration`: what scripts set, what is sent of it, and what is made of it again."""

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_amlstore.core import Environment, RunConfiguration, run_configuration
from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.environment import DEFAULT_CPU_IMAGE
from mlflow_amlstore.core.run_configuration import (
    DockerConfiguration,
    HistoryConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
    say_what_has_no_effect,
)
from mlflow_amlstore.errors import InvalidValue, NotSupported, UnknownAttribute

# What azureml-core 1.61 makes of `RunConfiguration()`, but for its environment.
SENT_BY_THE_SDK: dict[str, Any] = {
    "script": None,
    "arguments": [],
    "target": "local",
    "framework": "Python",
    "communicator": "None",
    "maxRunDurationSeconds": None,
    "nodeCount": 1,
    "priority": None,
    "history": {"outputCollection": True, "snapshotProject": True, "directoriesToWatch": ["logs"]},
    "spark": {"configuration": {"spark.app.name": "Azure ML Experiment", "spark.yarn.maxAppAttempts": 1}},
    "docker": {"useDocker": False, "sharedVolumes": True, "arguments": [], "shmSize": "2g"},
    "hdi": {"yarnDeployMode": "cluster"},
    "tensorflow": {"workerCount": 1, "parameterServerCount": 1},
    "mpi": {"processCountPerNode": 1, "nodeCount": 1},
    "pytorch": {"communicationBackend": "nccl", "processCount": None, "nodeCount": 1},
    "paralleltask": {"maxRetriesPerWorker": 0, "workerCountPerNode": 1, "terminalExitCodes": None},
    "dataReferences": {},
    "data": {},
    "datacaches": [],
    "outputData": {},
    "sourceDirectoryDataStore": None,
    "amlcompute": {
        "vmSize": None,
        "vmPriority": None,
        "retainCluster": False,
        "name": None,
        "clusterMaxNodeCount": None,
    },
    "autoClusterComputeSpecification": None,
    "kubernetescompute": {"instanceType": None},
    "credentialPassthrough": False,
    "command": "",
    "environmentVariables": {},
    "applicationEndpoints": {},
}


def test_the_configurations_have_the_sdks_arguments_in_its_order_and_its_defaults() -> None:
    assert vars(MpiConfiguration()) == {"process_count_per_node": 1, "node_count": 1}
    assert vars(PyTorchConfiguration()) == {"communication_backend": "nccl", "process_count": None, "node_count": 1}
    assert vars(TensorflowConfiguration()) == {"worker_count": 1, "parameter_server_count": 1}
    docker = {"use_docker": False, "shared_volumes": True, "arguments": [], "shm_size": "2g"}
    assert vars(DockerConfiguration()) == docker
    assert vars(HistoryConfiguration()) == {
        "output_collection": True,
        "snapshot_project": True,
        "directories_to_watch": ["logs"],
    }
    assert PyTorchConfiguration("Gloo", 4, 2) == PyTorchConfiguration(
        communication_backend="gloo", process_count=4, node_count=2
    )
    assert DockerConfiguration(True, False, ["-v"], "1g").arguments == ["-v"]


class TestDefinition:
    def test_of_a_new_configuration_it_is_what_the_sdk_sends(self) -> None:
        definition = RunConfiguration().definition()
        environment = definition.pop("environment")
        assert definition == SENT_BY_THE_SDK
        assert environment["name"] == "default-environment"
        assert environment["python"]["condaDependencies"] == CondaDependencies().as_dict()

    def test_it_has_what_was_set_after_the_configuration_was_made(self) -> None:
        configuration = RunConfiguration("old.py", ["-v"], framework="PyTorch", communicator="nccl")
        configuration.script, configuration.arguments = "train.py", ["--alpha", 0.5, "--epochs", 3, "--flag", True]
        configuration.target = SimpleNamespace(name="cpu-cluster")
        configuration.environment = Environment("mine")
        configuration.environment.python.user_managed_dependencies = True
        configuration.environment.python.interpreter_path = "/opt/python"
        configuration.environment_variables = {"THREADS": 2}
        configuration.history.snapshot_project = False
        configuration.max_run_duration_seconds = 60
        configuration.pytorch = PyTorchConfiguration("Gloo", process_count=2)
        configuration.amlcompute.vm_size = "STANDARD_D2_V2"
        sent = json.loads(json.dumps(configuration.definition()))
        assert sent["script"] == "train.py"
        assert sent["arguments"] == ["--alpha", "0.5", "--epochs", "3", "--flag", "True"]
        assert sent["target"] == "cpu-cluster"
        assert sent["environment"]["name"] == "mine"
        assert sent["environment"]["python"]["interpreterPath"] == "/opt/python"
        assert sent["environmentVariables"] == {"THREADS": "2"}
        assert sent["history"]["snapshotProject"] is False
        assert sent["maxRunDurationSeconds"] == 60
        assert sent["pytorch"] == {"communicationBackend": "gloo", "processCount": 2, "nodeCount": 1}
        assert sent["amlcompute"]["vmSize"] == "STANDARD_D2_V2"

    def test_dependencies_can_be_given_at_once(self) -> None:
        dependencies = CondaDependencies.create(pip_packages=["pandas"])
        environment = RunConfiguration(conda_dependencies=dependencies).definition()["environment"]
        assert environment["python"]["condaDependencies"]["dependencies"][-1] == {"pip": ["pandas"]}

    def test_arguments_in_one_text_are_split_as_a_shell_would(self) -> None:
        configuration = RunConfiguration("train.py", "--name 'two words' --alpha 0.5")
        assert configuration.definition()["arguments"] == ["--name", "two words", "--alpha", "0.5"]

    def test_arguments_with_newlines_and_quotes_stay_whole(self) -> None:
        arguments = ["a\nb", "it's", '"', "", "日本"]
        assert RunConfiguration("train.py", arguments).definition()["arguments"] == arguments

    def test_it_doesnt_change_with_the_configuration(self) -> None:
        configuration = RunConfiguration()
        definition = configuration.definition()
        configuration.history.directories_to_watch.append("more")
        configuration.environment.python.conda_dependencies.add_pip_package("pandas")
        assert definition["history"]["directoriesToWatch"] == ["logs"]
        assert "pandas" not in str(definition["environment"])
        definition["dataReferences"]["x"] = 1
        assert RunConfiguration().definition()["dataReferences"] == {}

    @pytest.mark.parametrize(
        ("attribute", "value", "named"),
        [
            ("script", 5, "5 for script: must be the path"),
            ("arguments", 5, "5 for arguments: must be a list"),
            ("arguments", ["a\0b"], "for arguments: must be text, without NUL"),
            ("arguments", "it's", "for arguments: can't be split"),
            ("command", {"ls": 1}, "for command: must be a list"),
            ("command", "ls\0", "for command: must be text, without NUL"),
            ("environment", "AzureML-Minimal", "'AzureML-Minimal' for environment: must be an Environment"),
            ("environment_variables", ["A"], "for environment variables: must be a dict"),
            ("environment_variables", {"A=B": "c"}, "for environment variables: a name must be"),
            ("environment_variables", {"": "c"}, "for environment variables: a name must be"),
            ("max_run_duration_seconds", 0, "0 for max_run_duration_seconds: must be a number above 0"),
            ("max_run_duration_seconds", float("inf"), "inf for max_run_duration_seconds"),
            ("history", True, "True for history: must be a HistoryConfiguration"),
            ("mpi", PyTorchConfiguration(), "for mpi: must be a MpiConfiguration"),
        ],
    )
    def test_what_no_run_can_have_is_named(self, attribute: str, value: Any, named: str) -> None:
        configuration = RunConfiguration()
        setattr(configuration, attribute, value)
        with pytest.raises(InvalidValue) as raised:
            configuration.definition()
        assert named in str(raised.value)

    def test_folders_to_watch_must_be_a_list(self) -> None:
        configuration = RunConfiguration()
        configuration.history.directories_to_watch = "logs"  # type: ignore[assignment]
        with pytest.raises(InvalidValue, match=r"'logs' for history\.directories_to_watch: must be a list"):
            configuration.definition()


class TestOfDefinition:
    def test_a_configuration_comes_back_from_what_was_sent(self) -> None:
        configuration = RunConfiguration("train.py", ["--alpha", 0.5], framework="PyTorch", communicator="nccl")
        configuration.target = "gpu"
        configuration.node_count = 2
        configuration.priority = 3
        configuration.max_run_duration_seconds = 3600
        configuration.pytorch = PyTorchConfiguration("Nccl", process_count=4, node_count=2)
        configuration.docker = DockerConfiguration(use_docker=True)
        configuration.history.directories_to_watch = ["logs", "checkpoints"]
        configuration.history.snapshot_project = False
        configuration.amlcompute.vm_size = "STANDARD_D2_V2"
        configuration.kubernetescompute.instance_type = "gpu"
        configuration.environment_variables = {"A": "b"}
        configuration.environment.environment_variables = {"C": "d"}
        configuration.environment.python.conda_dependencies.add_pip_package("pandas")
        configuration.environment.docker.base_dockerfile = "FROM scratch"
        sent = json.loads(json.dumps(configuration.definition()))
        assert RunConfiguration.of_definition(sent).definition() == sent

    def test_what_is_not_sent_is_as_in_a_new_one(self) -> None:
        assert RunConfiguration.of_definition({}).definition() == RunConfiguration().definition()

    def test_the_sdks_own_is_read_whatever_else_it_has(self) -> None:
        packages = {"name": "project_environment", "dependencies": ["python=3.8.13", {"pip": ["azureml-defaults"]}]}
        environment: dict[str, Any] = {
            "name": "default-environment",
            "version": None,
            "python": {
                "baseCondaEnvironment": None,
                "condaDependencies": packages,
                "condaDependenciesFile": None,
                "interpreterPath": "python",
                "userManagedDependencies": False,
            },
            "docker": {"baseImage": DEFAULT_CPU_IMAGE, "platform": {"os": "Linux"}, "buildContext": None},
            "databricks": {"eggLibraries": []},
            "r": None,
        }
        read = RunConfiguration.of_definition({**SENT_BY_THE_SDK, "environment": environment, "newer": 1})
        assert read.environment.name == "default-environment"
        assert read.environment.python.conda_dependencies.pip_packages == ["azureml-defaults"]
        assert read.environment.docker.base_image == DEFAULT_CPU_IMAGE

    @pytest.mark.parametrize(
        ("name", "value"), [("dataReferences", {"d": {}}), ("outputData", {"o": {}}), ("datacaches", [1])]
    )
    def test_what_would_change_results_and_isnt_here_is_refused_by_name(self, name: str, value: object) -> None:
        with pytest.raises(NotSupported, match=f"A run configuration with {name} is not supported"):
            RunConfiguration.of_definition({**SENT_BY_THE_SDK, name: value})


class TestAttributes:
    def test_a_slip_in_a_name_is_an_error_that_names_it_and_what_there_is(self) -> None:
        configuration = RunConfiguration()
        slips: list[tuple[object, str]] = [
            (configuration, "max_run_duration"),
            (configuration.history, "snapshot"),
            (configuration.environment.python, "user_managed_dependency"),
            (configuration.environment.docker, "image"),
            (MpiConfiguration(), "process_count"),
        ]
        for owner, slip in slips:
            with pytest.raises(UnknownAttribute) as raised:
                setattr(owner, slip, 1)
            assert f"{type(owner).__name__} has no attribute '{slip}'; it has " in str(raised.value)
            assert isinstance(raised.value, AttributeError)
            assert not hasattr(owner, slip)

    def test_what_only_the_sdk_has_is_refused_by_name_set_or_read(self) -> None:
        configuration = RunConfiguration()
        uses: dict[str, Callable[[], object]] = {
            "RunConfiguration.data_references": lambda: setattr(configuration, "data_references", {}),
            "RunConfiguration.spark": lambda: configuration.spark.configuration,  # type: ignore[attr-defined]
            "RunConfiguration.load": lambda: RunConfiguration.load("."),  # type: ignore[attr-defined]
            "RunConfiguration.save": lambda: configuration.save(name="mine"),  # type: ignore[attr-defined]
            "PythonSection.conda_dependencies_file": lambda: setattr(
                configuration.environment.python, "conda_dependencies_file", "x.yml"
            ),
        }
        for name, use in uses.items():
            with pytest.raises(NotSupported, match=f"^{name} is not supported"):
                use()

    def test_a_target_is_a_name_or_has_one(self) -> None:
        configuration = RunConfiguration()
        with pytest.raises(InvalidValue, match="None for target: must be a compute target or its name"):
            configuration.target = None
        assert configuration.target == "local"

    def test_a_backend_that_pytorch_doesnt_have_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match="'mpi' for communication_backend: must be 'Nccl' or 'Gloo'"):
            PyTorchConfiguration("mpi")


class TestWhatHasNoEffect:
    @pytest.fixture(autouse=True)
    def _as_in_a_new_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_configuration, "_said", set())

    def test_it_is_said_once_by_name(self, caplog: pytest.LogCaptureFixture) -> None:
        configuration = RunConfiguration()
        configuration.environment.docker.enabled = True
        configuration.environment.docker.base_image = "python:3.12"
        configuration.docker = DockerConfiguration(use_docker=True, shm_size="8g")
        configuration.amlcompute.vm_size = "STANDARD_D2_V2"
        configuration.priority = 5
        configuration.auto_prepare_environment = True
        configuration.pytorch = PyTorchConfiguration("Gloo")
        configuration.communicator = "IntelMpi"
        configuration.mpi = MpiConfiguration(4)
        with caplog.at_level(logging.WARNING):
            say_what_has_no_effect(configuration)
            say_what_has_no_effect(configuration)
        said = [record.getMessage().partition(" has no effect here: ")[0] for record in caplog.records]
        assert sorted(said) == [
            "run_config.amlcompute.vm_size",
            "run_config.auto_prepare_environment",
            "run_config.communicator",
            "run_config.docker.shm_size",
            "run_config.docker.use_docker",
            "run_config.environment.docker.base_image",
            "run_config.environment.docker.enabled",
            "run_config.priority",
            "run_config.pytorch.communication_backend",
        ]

    def test_of_what_acts_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        configuration = RunConfiguration("train.py", ["-v"])
        configuration.environment.docker.base_image = DEFAULT_CPU_IMAGE  # which old scripts set without a thought
        configuration.environment_variables = {"A": "b"}
        configuration.max_run_duration_seconds = 60
        configuration.history.snapshot_project = False
        configuration.pytorch = PyTorchConfiguration(process_count=2)
        say_what_has_no_effect(configuration)
        assert caplog.records == []
