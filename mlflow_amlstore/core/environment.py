"""`Environment`: what a submitted script runs in, as Azure ML's SDK describes it."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.errors import AlreadyExists, InvalidValue

# The files of a saved environment, as the SDK names them.
_DEFINITION_FILE, _CONDA_FILE, _DOCKER_FILE = "azureml_environment.json", "conda_dependencies.yml", "BaseDockerfile"


@dataclass
class PythonSection:
    """The Python of an environment: the one at `interpreter_path` if `user_managed_dependencies`, else one that is made
    from `conda_dependencies`."""

    user_managed_dependencies: bool = False
    interpreter_path: str = "python"
    conda_dependencies: CondaDependencies = field(default_factory=CondaDependencies)


@dataclass
class ContainerRegistry:
    """Where a Docker image comes from. The password stays in this object: it is never written."""

    address: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass
class DockerSection:
    """The Docker image of an environment. It is kept as it was set; no script runs in it."""

    enabled: bool = False
    base_image: str | None = None
    base_dockerfile: str | None = None
    base_image_registry: ContainerRegistry = field(default_factory=ContainerRegistry)
    arguments: list[str] = field(default_factory=list)
    shared_volumes: bool = True
    shm_size: str = "2g"


@names_the_missing
class Environment:
    """A name with a Python, its packages, and environment variables.

    >>> environment = Environment("diabetes")
    >>> environment.python.conda_dependencies.add_pip_package("scikit-learn")
    >>> environment.environment_variables = {"OMP_NUM_THREADS": "2"}
    >>> environment
    Environment(Name: diabetes, Version: None)
    """

    def __init__(self, name: str) -> None:
        """Describe an environment. Raises InvalidValue if the name is empty or isn't a text."""
        self.name = _checked_name(name)
        self.version: str | None = None
        self.python = PythonSection()
        self.docker = DockerSection()
        self.environment_variables: dict[str, str] = {}
        self.inferencing_stack_version: str | None = None

    @staticmethod
    def from_conda_specification(name: str, file_path: PathText) -> "Environment":
        """Describe an environment by a conda environment file. Raises InvalidValue if the file isn't one."""
        environment = Environment(name)
        environment.python.conda_dependencies = CondaDependencies(file_path)
        return environment

    @staticmethod
    def from_pip_requirements(name: str, file_path: PathText, pip_version: str | None = None) -> "Environment":
        """Describe an environment by a requirements file of pip.

        Raises InvalidValue if the file can't be read, or refers to other files with `-r` or `-c`.
        """
        environment = Environment(name)
        dependencies = environment.python.conda_dependencies
        if pip_version is not None:
            dependencies.add_conda_package(f"pip={pip_version}")
        dependencies.set_pip_requirements(_requirements(Path(file_path)))
        return environment

    def clone(self, new_name: str) -> "Environment":
        """Return a copy under another name."""
        cloned = Environment(new_name)
        cloned.__dict__.update({**copy.deepcopy(self.__dict__), "name": new_name, "version": None})
        return cloned

    def save_to_directory(self, path: PathText, overwrite: bool = False) -> None:
        """Write its files into a folder, as the SDK does. Raises AlreadyExists if it exists, unless `overwrite`."""
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=overwrite)
        except FileExistsError:
            raise AlreadyExists("folder", str(folder), "Give overwrite=True to write over what is in it") from None
        self.python.conda_dependencies.save(folder / _CONDA_FILE)
        if self.docker.base_dockerfile is None:
            (folder / _DOCKER_FILE).unlink(missing_ok=True)
        else:
            (folder / _DOCKER_FILE).write_text(self.docker.base_dockerfile, encoding="utf-8")
        definition = json.dumps(_definition_of(self), indent=4)
        (folder / _DEFINITION_FILE).write_text(definition, encoding="utf-8")

    @staticmethod
    def load_from_directory(path: PathText) -> "Environment":
        """Read what `save_to_directory` wrote, here or in the SDK. Raises InvalidValue for a folder without it."""
        folder = Path(path)
        environment = _environment_of(_read_definition(folder / _DEFINITION_FILE))
        if (folder / _CONDA_FILE).is_file():
            environment.python.conda_dependencies = CondaDependencies(folder / _CONDA_FILE)
        if (folder / _DOCKER_FILE).is_file():
            environment.docker.base_dockerfile = (folder / _DOCKER_FILE).read_text(encoding="utf-8")
        return environment

    def __repr__(self) -> str:
        return f"Environment(Name: {self.name}, Version: {self.version})"


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidValue("environment name", name, "must be a text, and not empty")
    return name


def _requirements(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidValue("requirements file", str(file), f"can't be read: {error.strerror}") from None
    for line in text.replace("\\\n", " ").splitlines():
        requirement = f" {line}".partition(" #")[0].strip()
        if requirement.startswith(("-r", "-c", "--requirement", "--constraint")):
            raise InvalidValue("requirements file", str(file), f"must list the packages itself, it has {requirement!r}")
        if requirement:
            yield requirement


def _definition_of(environment: Environment) -> dict[str, Any]:
    """What the SDK writes into the definition file; the rest goes into the other files."""
    python, docker = environment.python, environment.docker
    registry = docker.base_image_registry
    return {
        "name": environment.name,
        "version": environment.version,
        "environmentVariables": environment.environment_variables,
        "inferencingStackVersion": environment.inferencing_stack_version,
        "python": {
            "userManagedDependencies": python.user_managed_dependencies,
            "interpreterPath": python.interpreter_path,
        },
        "docker": {
            "enabled": docker.enabled,
            "baseImage": docker.base_image,
            "baseImageRegistry": {"address": registry.address, "username": registry.username},
            "arguments": docker.arguments,
            "sharedVolumes": docker.shared_volumes,
            "shmSize": docker.shm_size,
        },
    }


def _read_definition(file: Path) -> Mapping[str, Any]:
    try:
        definition = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue("environment file", str(file), f"can't be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidValue("environment file", str(file), f"is not JSON: {error}") from None
    if not isinstance(definition, dict) or not isinstance(definition.get("name"), str):
        raise InvalidValue("environment file", str(file), "must be a JSON object with a name")
    return definition


def _environment_of(definition: Mapping[str, Any]) -> Environment:
    environment = Environment(definition["name"])
    python, docker = definition.get("python") or {}, definition.get("docker") or {}
    registry = docker.get("baseImageRegistry") or {}
    environment.version = definition.get("version")
    environment.environment_variables = dict(definition.get("environmentVariables") or {})
    environment.inferencing_stack_version = definition.get("inferencingStackVersion")
    environment.python = PythonSection(
        bool(python.get("userManagedDependencies")), python.get("interpreterPath") or "python"
    )
    environment.docker = DockerSection(
        bool(docker.get("enabled")),
        docker.get("baseImage"),
        docker.get("baseDockerfile"),
        ContainerRegistry(registry.get("address"), registry.get("username")),
        list(docker.get("arguments") or ()),
        docker.get("sharedVolumes", True),
        docker.get("shmSize") or "2g",
    )
    return environment
