"""`RunConfiguration`: how a script is run, and its JSON form, both as Azure ML's SDK has them."""

import copy
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.environment import (
    DEFAULT_CPU_IMAGE,
    DEFAULT_GPU_IMAGE,
    Environment,
    checked_variables,
    environment_definition,
    environment_of,
)
from mlflow_amlstore.core.not_yet import names_the_missing, way_out
from mlflow_amlstore.core.strict_attributes import StrictAttributes
from mlflow_amlstore.errors import InvalidValue, NotSupported
from mlflow_amlstore.records.types import LOCAL_TARGET
from mlflow_amlstore.runner.ranks import words_of

_logger = logging.getLogger(__name__)

_BACKENDS = ("nccl", "gloo")


@dataclass
class MpiConfiguration(StrictAttributes):
    """Several processes, each of which is told its rank as Open MPI would."""

    process_count_per_node: int = 1
    node_count: int = 1


@dataclass
class PyTorchConfiguration(StrictAttributes):
    """Several processes, each of which is told its rank as PyTorch wants it.

    Without a `process_count` there is one per node, which may start others. The backend is Nccl or Gloo; InvalidValue
    is raised for another one.
    """

    communication_backend: str = "Nccl"
    process_count: int | None = None
    node_count: int = 1

    def __post_init__(self) -> None:
        backend: object = self.communication_backend
        if not isinstance(backend, str) or backend.lower() not in _BACKENDS:
            raise InvalidValue("communication_backend", backend, "must be 'Nccl' or 'Gloo'")
        self.communication_backend = backend.lower()


@dataclass
class TensorflowConfiguration(StrictAttributes):
    """Workers and parameter servers of TensorFlow, each worker on a node of its own."""

    worker_count: int = 1
    parameter_server_count: int = 1


@dataclass
class DockerConfiguration(StrictAttributes):
    """How a script is run in Docker. It is kept as it was set; no script runs in it."""

    use_docker: bool = False
    shared_volumes: bool = True
    arguments: list[str] = field(default_factory=list)
    shm_size: str = "2g"


@dataclass
class HistoryConfiguration(StrictAttributes):
    """What is kept of a run: its source folder as a snapshot, and the files in folders that are watched, which
    `outputs` always is."""

    output_collection: bool = True
    snapshot_project: bool = True
    directories_to_watch: list[str] = field(default_factory=lambda: ["logs"])


@names_the_missing
@dataclass
class AmlComputeConfiguration(StrictAttributes):
    """Machines that Azure ML would make for a run. It is kept as it was set; none is made here."""

    vm_size: str | None = None
    vm_priority: str | None = None


@dataclass
class KubernetesComputeConfiguration(StrictAttributes):
    """The kind of machine in a cluster. It is kept as it was set; none is asked for here."""

    instance_type: str | None = None


# The sections that are sent as they are set, in the order in which the SDK sends them.
_SECTIONS: dict[str, type[StrictAttributes]] = {
    "history": HistoryConfiguration,
    "docker": DockerConfiguration,
    "tensorflow": TensorflowConfiguration,
    "mpi": MpiConfiguration,
    "pytorch": PyTorchConfiguration,
    "amlcompute": AmlComputeConfiguration,
    "kubernetescompute": KubernetesComputeConfiguration,
}
# What the SDK always sends besides, as it is where nobody set anything: it can't be set here.
_UNSET: dict[str, Any] = {
    "spark": {"configuration": {"spark.app.name": "Azure ML Experiment", "spark.yarn.maxAppAttempts": 1}},
    "hdi": {"yarnDeployMode": "cluster"},
    "paralleltask": {"maxRetriesPerWorker": 0, "workerCountPerNode": 1, "terminalExitCodes": None},
    "dataReferences": {},
    "data": {},
    "datacaches": [],
    "outputData": {},
    "autoClusterComputeSpecification": None,
    "applicationEndpoints": {},
}
_UNSET_AMLCOMPUTE = {"retainCluster": False, "name": None, "clusterMaxNodeCount": None}


@names_the_missing
class RunConfiguration(StrictAttributes):
    """How a script is run: its arguments, target, environment, number of processes, and what is kept of it.

    >>> configuration = RunConfiguration()
    >>> configuration.environment.python.user_managed_dependencies = True
    >>> configuration.history.snapshot_project = False
    >>> configuration.definition()["target"]
    'local'
    """

    script: str | None
    arguments: list[Any] | str
    command: list[Any] | str
    framework: str
    communicator: str
    max_run_duration_seconds: float | None
    node_count: int
    priority: int | None
    environment: Environment
    environment_variables: dict[str, Any]
    """These beat the environment's own."""
    history: HistoryConfiguration
    docker: DockerConfiguration
    tensorflow: TensorflowConfiguration
    mpi: MpiConfiguration
    pytorch: PyTorchConfiguration
    amlcompute: AmlComputeConfiguration
    kubernetescompute: KubernetesComputeConfiguration
    source_directory_data_store: str | None
    credential_passthrough: bool
    auto_prepare_environment: bool | None
    _target: str

    def __init__(
        self,
        script: str | None = None,
        arguments: list[Any] | str | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        *,
        command: list[Any] | str | None = None,
    ) -> None:
        """Describe a run of a script with arguments, or of a command, on this machine."""
        self.script = script
        self.arguments = [] if arguments is None else arguments
        self.command = command or ""
        self.framework = framework or "Python"
        self.communicator = communicator or "None"
        self.max_run_duration_seconds = None
        self.node_count = 1
        self.priority = None
        self.environment = Environment("default-environment")
        if conda_dependencies is not None:
            self.environment.python.conda_dependencies = conda_dependencies
        self.environment_variables = {}
        for name, kind in _SECTIONS.items():
            setattr(self, name, kind())
        self.source_directory_data_store = None
        self.credential_passthrough = False
        self.auto_prepare_environment = None
        self.target = LOCAL_TARGET

    @property
    def target(self) -> str:
        """The name of the compute target, which can be set to a target or its name; `local` is this machine."""
        return self._target

    @target.setter
    def target(self, target: object) -> None:
        name = target if isinstance(target, str) else getattr(target, "name", None)
        if not isinstance(name, str) or not name:
            raise InvalidValue("target", target, "must be a compute target or its name, such as 'local'")
        self._target = name

    def definition(self) -> dict[str, Any]:
        """Return the JSON form in which the SDK sends it. Raises InvalidValue, naming it, for what no run can have."""
        if not isinstance(self.environment, Environment):
            raise InvalidValue("environment", self.environment, "must be an Environment")
        return {
            "script": _checked_script(self.script),
            "arguments": words_of("arguments", self.arguments),
            "command": _checked_command(self.command),
            "target": self.target,
            "framework": self.framework,
            "communicator": self.communicator,
            "maxRunDurationSeconds": _checked_duration(self.max_run_duration_seconds),
            "nodeCount": self.node_count,
            "priority": self.priority,
            "environment": environment_definition(self.environment),
            "environmentVariables": checked_variables(self.environment_variables),
            **{name: _section_definition(name, getattr(self, name)) for name in _SECTIONS},
            "sourceDirectoryDataStore": self.source_directory_data_store,
            "credentialPassthrough": self.credential_passthrough,
            **copy.deepcopy(_UNSET),
        }

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any]) -> "RunConfiguration":
        """Return the run configuration of such a JSON form, ours or the SDK's.

        Raises NotSupported, naming it, if it has what can't be set here: data references, outputs, endpoints.
        """
        for name, unset in _UNSET.items():
            if definition.get(name) and not unset:
                raise NotSupported(f"A run configuration with {name}", way_out(name))
        self = cls(
            definition.get("script"),
            definition.get("arguments"),
            definition.get("framework"),
            definition.get("communicator"),
            command=definition.get("command"),
        )
        self.target = definition.get("target") or LOCAL_TARGET
        self.max_run_duration_seconds = definition.get("maxRunDurationSeconds")
        self.node_count = definition.get("nodeCount") or 1
        self.priority = definition.get("priority")
        if definition.get("environment"):
            self.environment = environment_of(definition["environment"])
        self.environment_variables = dict(definition.get("environmentVariables") or {})
        for name in _SECTIONS:
            section, given = getattr(self, name), definition.get(name) or {}
            for attribute in vars(section):
                if _camel_case(attribute) in given:
                    setattr(section, attribute, copy.deepcopy(given[_camel_case(attribute)]))
        self.source_directory_data_store = definition.get("sourceDirectoryDataStore")
        self.credential_passthrough = bool(definition.get("credentialPassthrough"))
        return self

    def __repr__(self) -> str:
        what = f"script={self.script!r}" if self.script else f"command={self.command!r}"
        return f"RunConfiguration({what}, target={self.target!r}, environment={self.environment!r})"


def say_what_has_no_effect(configuration: RunConfiguration) -> None:
    """Warn of each setting that means nothing outside of Azure ML's machines: once per process and setting."""
    for name, why in _without_effect(configuration):
        if name not in _said:
            _said.add(name)
            _logger.warning("run_config.%s has no effect here: %s", name, why)


_said: set[str] = set()
_NO_CONTAINER = "the script runs in no container"
_NO_MACHINES = "the script runs on a machine that is there"


def _without_effect(configuration: RunConfiguration) -> Iterator[tuple[str, str]]:
    environment, usual = configuration.environment, Environment("usual")
    for name in ("enabled", "base_image", "base_dockerfile", "base_image_registry", "arguments", "shared_volumes"):
        value = getattr(environment.docker, name)
        if value != getattr(usual.docker, name) and value not in (DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE):
            yield f"environment.docker.{name}", _NO_CONTAINER
    for name in ("shm_size", "gpu_support"):
        if getattr(environment.docker, name) != getattr(usual.docker, name):
            yield f"environment.docker.{name}", _NO_CONTAINER
    for name, value in vars(configuration.docker).items():
        if value != getattr(DockerConfiguration(), name):
            yield f"docker.{name}", _NO_CONTAINER
    for section in ("amlcompute", "kubernetescompute"):
        for name, value in vars(getattr(configuration, section)).items():
            if value is not None:
                yield f"{section}.{name}", _NO_MACHINES
    if configuration.priority is not None:
        yield "priority", "runs of a target start in the order in which they were submitted"
    if configuration.source_directory_data_store is not None:
        yield "source_directory_data_store", "the source folder is kept with the run"
    if configuration.credential_passthrough:
        yield "credential_passthrough", "the script runs as whoever starts it"
    if configuration.auto_prepare_environment is not None:
        yield "auto_prepare_environment", "an environment is always prepared"
    if configuration.pytorch.communication_backend != PyTorchConfiguration().communication_backend:
        yield "pytorch.communication_backend", "the script chooses it, in init_process_group"
    if str(configuration.communicator).lower().endswith("mpi") and configuration.mpi.process_count_per_node != 1:
        yield "communicator", "no MPI starts the processes; they are told their ranks by environment variables"


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _section_definition(name: str, section: object) -> dict[str, Any]:
    if not isinstance(section, _SECTIONS[name]):
        raise InvalidValue(name, section, f"must be a {_SECTIONS[name].__name__}")
    if isinstance(section, HistoryConfiguration):
        folders: object = section.directories_to_watch
        if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
            raise InvalidValue("history.directories_to_watch", folders, "must be a list of folders' names")
    definition = {_camel_case(attribute): copy.deepcopy(value) for attribute, value in vars(section).items()}
    return {**definition, **_UNSET_AMLCOMPUTE} if name == "amlcompute" else definition


def _checked_script(script: object) -> str | None:
    if script is None or (isinstance(script, str) and "\0" not in script):
        return script
    raise InvalidValue("script", script, "must be the path of a file in source_directory, as a text")


def _checked_command(command: object) -> list[str] | str:
    """A command stays one text if it is one: its shell splits it."""
    return words_of("command", [command])[0] if isinstance(command, str) else words_of("command", command)


def _checked_duration(seconds: object) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise InvalidValue("max_run_duration_seconds", seconds, "must be a number above 0, or None")
    return seconds
