"""`ScriptRunConfig`: a source folder, what is run of it, and how."""

import copy
import logging
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.not_yet import names_the_missing, refuse_given
from mlflow_amlstore.core.run_configuration import (
    DockerConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    TensorflowConfiguration,
)
from mlflow_amlstore.core.strict_attributes import StrictAttributes
from mlflow_amlstore.errors import InvalidValue, ScriptNotFound, SourceFolderNotFound
from mlflow_amlstore.records.types import LOCAL_TARGET

if TYPE_CHECKING:
    from mlflow_amlstore.core.environment import Environment

_logger = logging.getLogger(__name__)

_30_DAYS_S = 2592000
DistributedJobConfig = MpiConfiguration | PyTorchConfiguration | TensorflowConfiguration


@names_the_missing
class ScriptRunConfig(StrictAttributes):
    """What `experiment.submit` runs: a script of a folder with arguments, or a command in it.

    >>> config = ScriptRunConfig("src", script="train.py", arguments=["--alpha", 0.1])
    >>> config.run_config.environment.python.user_managed_dependencies = True
    >>> config.definition()["arguments"]
    ['--alpha', '0.1']
    """

    MAX_DURATION_SECONDS_DEFAULT: ClassVar[int] = _30_DAYS_S

    source_directory: PathText
    script: str | None
    arguments: list[Any] | str | None
    command: list[Any] | str | None
    run_config: RunConfiguration

    def __init__(
        self,
        source_directory: PathText,
        script: str | None = None,
        arguments: list[Any] | str | None = None,
        run_config: RunConfiguration | None = None,
        _telemetry_values: object = None,
        compute_target: object = None,
        environment: "Environment | None" = None,
        distributed_job_config: DistributedJobConfig | None = None,
        resume_from: object = None,
        max_run_duration_seconds: float | None = _30_DAYS_S,
        command: list[Any] | str | None = None,
        docker_runtime_config: DockerConfiguration | None = None,
    ) -> None:
        """Describe a submission; nothing is read or checked in the folder before `submit`.

        `arguments` are made texts; one text is split as a shell would. `command` is the shell's, and a list of its
        words is joined by spaces. `run_config` is used as it is, and says what isn't given here; then the target,
        environment, distributed configuration, duration and Docker configuration given here are ignored, with a
        warning. Raises InvalidValue for arguments of the wrong kind, NotSupported for `resume_from`.
        """
        refuse_given("ScriptRunConfig", resume_from=resume_from)
        self.source_directory = source_directory
        self.script, self.arguments, self.command = script, arguments, command
        if run_config is None:
            self.run_config = RunConfiguration()
            self.run_config.target = compute_target or LOCAL_TARGET
            self.run_config.max_run_duration_seconds = max_run_duration_seconds
            if environment is not None:
                self.run_config.environment = environment
            if docker_runtime_config is not None:
                self.run_config.docker = docker_runtime_config
            if distributed_job_config is not None:
                _distribute(self.run_config, distributed_job_config)
            return
        if not isinstance(run_config, RunConfiguration):
            raise InvalidValue("run_config", run_config, "must be a RunConfiguration")
        self.run_config = run_config
        ignored = {
            "compute_target": compute_target,
            "environment": environment,
            "distributed_job_config": distributed_job_config,
            "max_run_duration_seconds": max_run_duration_seconds != _30_DAYS_S,
            "docker_runtime_config": docker_runtime_config,
        }
        if any(ignored.values()):
            given = ", ".join(name for name, value in ignored.items() if value)
            _logger.warning("ScriptRunConfig has a run_config, so these are ignored: %s", given)
        for name in ("script", "arguments", "command"):
            if not getattr(self, name):
                setattr(self, name, getattr(run_config, name) or None)
            elif getattr(run_config, name):
                _logger.warning("ScriptRunConfig is given %s, which beats that of its run_config", name)

    def definition(self) -> dict[str, Any]:
        """Return the run configuration to submit, in the JSON form in which the SDK sends it.

        Raises InvalidValue unless there is either a script or a command, and for what no run can have.
        """
        run_config = copy.copy(self.run_config)
        for name in ("script", "arguments", "command"):
            if getattr(self, name):
                setattr(run_config, name, getattr(self, name))
        definition = run_config.definition()
        if definition["script"]:
            definition["script"] = _path_inside(_folder(self), definition["script"]) or definition["script"]
        if bool(definition["script"]) == bool(definition["command"]):
            raise InvalidValue("script", definition["script"], "give either a script or a command, one of the two")
        if definition["command"] and definition["arguments"]:
            raise InvalidValue("arguments", definition["arguments"], "are a script's; write a command's into it")
        return definition

    def __repr__(self) -> str:
        what = f"script={self.script!r}" if self.script else f"command={self.command!r}"
        return f"ScriptRunConfig({str(self.source_directory)!r}, {what}, compute_target={self.run_config.target!r})"


def checked_source(config: ScriptRunConfig) -> Path:
    """The source folder of a submission, whose script is in it.

    Raises SourceFolderNotFound, or ScriptNotFound where the script isn't a file inside the folder.
    """
    folder = _folder(config)
    if not folder.is_dir():
        raise SourceFolderNotFound(str(config.source_directory))
    script = config.script or config.run_config.script
    if script and _path_inside(folder, script) is None:
        raise ScriptNotFound(str(folder / script))
    return folder


def _folder(config: ScriptRunConfig) -> Path:
    folder: object = config.source_directory
    if not isinstance(folder, str | PathLike):
        raise InvalidValue("source_directory", folder, "must be the path of a folder")
    return Path(folder).resolve()


def _path_inside(folder: Path, script: str) -> str | None:
    """The path of a script below a folder, however it was written: the script runs in a copy of the folder. None for
    what isn't a file inside it."""
    file = folder / script
    try:
        file = file.parent.resolve() / file.name
        is_inside = file.is_file() and file.is_relative_to(folder)
    except OSError:  # too long a name, say
        return None
    return file.relative_to(folder).as_posix() if is_inside else None


def _distribute(run_config: RunConfiguration, distributed: object) -> None:
    if isinstance(distributed, MpiConfiguration):
        run_config.mpi = distributed
        run_config.framework, run_config.communicator = "Python", "IntelMpi"
        run_config.node_count = distributed.node_count
    elif isinstance(distributed, PyTorchConfiguration):
        run_config.pytorch = distributed
        run_config.framework, run_config.communicator = "PyTorch", distributed.communication_backend
        run_config.node_count = distributed.node_count
    elif isinstance(distributed, TensorflowConfiguration):
        run_config.tensorflow = distributed
        run_config.framework, run_config.communicator = "TensorFlow", "ParameterServer"
        run_config.node_count = distributed.worker_count
    else:
        rule = "must be an MpiConfiguration, a PyTorchConfiguration or a TensorflowConfiguration"
        raise InvalidValue("distributed_job_config", distributed, rule)
