"""`Environment`: what a submitted script runs in, as Azure ML's SDK describes it."""

import copy
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_amlstore.core.conda_dependencies import CondaDependencies
from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.named_texts import texts_of
from mlflow_amlstore.core.not_yet import names_the_missing, refuse_given
from mlflow_amlstore.core.strict_attributes import StrictAttributes
from mlflow_amlstore.errors import AlreadyExists, ExtraMissing, InvalidValue, NotFound
from mlflow_amlstore.records.types import EnvironmentRecord

if TYPE_CHECKING:
    from mlflow_amlstore.core.workspace import Workspace

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04"
"""The SDK's names for Docker images, which old scripts set as `docker.base_image`."""
# The files of a saved environment, as the SDK names them.
_DEFINITION_FILE, _CONDA_FILE, _DOCKER_FILE = "azureml_environment.json", "conda_dependencies.yml", "BaseDockerfile"
_CURATED = "AzureML-"  # begins the names of Azure ML's own environments
_AZURES_OWN = ("AzureML", "Microsoft")  # no others' begin with these, as in the SDK
_LATEST = "latest"
_REFERRING = re.compile(r"(--requirement|--constraint|-r|-c)[\s=]*")  # to another list, as pip's options do


@names_the_missing
@dataclass
class PythonSection(StrictAttributes):
    """The Python of an environment: the one at `interpreter_path` if `user_managed_dependencies`, else one that is made
    from `conda_dependencies`."""

    user_managed_dependencies: bool = False
    interpreter_path: str = "python"
    conda_dependencies: CondaDependencies = field(default_factory=CondaDependencies)


@dataclass
class ContainerRegistry(StrictAttributes):
    """Where a Docker image comes from. The password stays in this object: it is never written."""

    address: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@names_the_missing
@dataclass
class DockerSection(StrictAttributes):
    """The Docker image of an environment. It is kept as it was set; no script runs in it."""

    enabled: bool = False
    base_image: str | None = None
    base_dockerfile: str | None = None
    base_image_registry: ContainerRegistry = field(default_factory=ContainerRegistry)
    arguments: list[str] = field(default_factory=list)
    shared_volumes: bool = True
    shm_size: str = "2g"
    gpu_support: bool = False  # the SDK ignores it, too


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
        """Describe an environment by a requirements file of pip, or by a `pyproject.toml`.

        Of the latter it takes the project's dependencies, without the project itself, and its `requires-python`.
        Of a file that is referred to by `-r` it takes the lines. One that is referred to by `-c` is read where the
        script runs: by its path from the list's folder, in the script's source folder.

        Raises InvalidValue if a file can't be read, or one of constraints lies outside the list's folder, or no
        dependencies of a project are listed.
        """
        environment, file = Environment(name), Path(file_path)
        dependencies = environment.python.conda_dependencies
        if pip_version is not None:
            dependencies.add_conda_package(f"pip={pip_version}")
        if file.suffix == ".toml":
            project = _read_project(file)
            python = str(project.get("requires-python", "")).replace(" ", "")
            if python:
                dependencies.add_conda_package(f"python{python}")
            dependencies.set_pip_requirements(project["dependencies"])
        else:
            dependencies.set_pip_requirements(_requirements(file, file.parent, set()))
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
        definition = environment_definition(self)
        del definition["python"]["condaDependencies"], definition["docker"]["baseDockerfile"]  # files of their own
        (folder / _DEFINITION_FILE).write_text(json.dumps(definition, indent=4), encoding="utf-8")

    @staticmethod
    def load_from_directory(path: PathText) -> "Environment":
        """Read what `save_to_directory` wrote, here or in the SDK. Raises InvalidValue for a folder without it."""
        folder = Path(path)
        environment = environment_of(_read_definition(folder / _DEFINITION_FILE))
        if (folder / _CONDA_FILE).is_file():
            environment.python.conda_dependencies = CondaDependencies(folder / _CONDA_FILE)
        if (folder / _DOCKER_FILE).is_file():
            environment.docker.base_dockerfile = (folder / _DOCKER_FILE).read_text(encoding="utf-8")
        return environment

    def build_local(self, workspace: "Workspace", platform: str | None = None, **kwargs: object) -> None:
        """Build it on this machine, printing the build's output as it comes. One that was built before is kept.

        `useDocker=False` and `pushImageToWorkspaceAcr=False` are accepted for old scripts; there are no images here.
        Raises what `runner.environments.interpreter_of` raises, and NotSupported for another argument that is given.
        """
        refuse_given("Environment.build_local", platform=platform, **kwargs)
        self._build(_print)

    def build(self, workspace: "Workspace", image_build_compute: str | None = None) -> "ImageBuildDetails":
        """Register it and build it on this machine, and return what `build_local` would print.

        It returns when the build has ended. Raises as `register`, what `runner.environments.interpreter_of` raises, and
        NotSupported if `image_build_compute` is given.
        """
        refuse_given("Environment.build", image_build_compute=image_build_compute)
        self.register(workspace)
        log: list[str] = []
        self._build(log.append)
        return ImageBuildDetails("".join(log))

    def _build(self, write: Callable[[str], object]) -> None:
        from mlflow_amlstore.runner.environments import interpreter_of  # describing one needs none of it

        interpreter_of(environment_definition(self), output=lambda line: write(line.decode("utf-8", "replace")))

    def register(self, workspace: "Workspace", build_on_register: bool = False) -> "Environment":
        """Keep it in the workspace, and return it with its version.

        The same definition again is the same version; another one is the next: "1", "2", … A `version` that was set is
        the new one's, where it isn't taken. Raises InvalidValue for a name that Azure ML keeps for its own, and
        NotSupported if `build_on_register` is set.

        >>> Environment("diabetes").register(ws).version
        '1'
        >>> Environment.get(ws, "diabetes")
        Environment(Name: diabetes, Version: 1)
        """
        refuse_given("Environment.register", build_on_register=build_on_register)
        if self.name.startswith(_AZURES_OWN):
            raise InvalidValue("environment name", self.name, f"must not begin with {' or '.join(_AZURES_OWN)}")
        return _registered(workspace.records.environments.put(self.name, environment_definition(self), self.version))

    @staticmethod
    def get(workspace: "Workspace", name: str, version: str | None = None, label: str | None = None) -> "Environment":
        """Return a registered environment: a version of it, or the latest, which `label="latest"` means, too.

        Raises NotFound with what there is, and InvalidValue for another label, or for both.
        """
        if label not in (None, _LATEST):
            raise InvalidValue("label", label, f"must be {_LATEST!r}: no other is given here")
        if label is not None and version is not None:
            raise InvalidValue("label", label, f"means another version than version={version!r}: give one of them")
        try:
            return _registered(workspace.records.environments.get(name, None if version is None else str(version)))
        except NotFound:
            if not name.startswith(_CURATED):
                raise
        way_out = "Azure ML alone has its curated environments. List what the script imports, and use "
        way_out += "Environment.from_pip_requirements(name, file_path) or Environment.from_conda_specification"
        raise NotFound("environment", name, way_out)

    @staticmethod
    def list(workspace: "Workspace") -> "dict[str, Environment]":
        """Return the latest version of each registered environment, by name."""
        return {record.name: _registered(record) for record in workspace.records.environments.list()}

    def __repr__(self) -> str:
        return f"Environment(Name: {self.name}, Version: {self.version})"


@dataclass(frozen=True)
class ImageBuildDetails:
    """A build that has ended well: no Docker image, but an environment of this machine. `log` is its output."""

    log: str
    status: str = "Succeeded"

    def wait_for_completion(self, show_output: bool = True) -> None:
        """Print the build's output, if asked to."""
        if show_output:
            _print(self.log)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _registered(record: EnvironmentRecord) -> Environment:
    return environment_of(record.definition)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidValue("environment name", name, "must be a text, and not empty")
    return name


def _requirements(file: Path, folder: Path, seen: set[Path]) -> Iterator[str]:
    """The lines of a list and of those that it refers to, each list once. Constraints are named from `folder` on."""
    seen.add(file.resolve())
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidValue("requirements file", str(file), f"can't be read: {error.strerror}") from None
    for line in text.replace("\\\n", " ").splitlines():
        requirement = f" {line}".partition(" #")[0].strip()
        referring = _REFERRING.match(requirement)
        if referring is None or "://" in requirement:
            if requirement:
                yield requirement
            continue
        other = file.parent / requirement[referring.end() :].strip("\"'")
        if referring[1] in ("-c", "--constraint"):
            yield f"-c {_constraints(other, folder)}"
        elif other.resolve() not in seen:
            yield from _requirements(other, folder, seen)


def _constraints(file: Path, folder: Path) -> str:
    """The path of a file of constraints from the folder of the list that is read."""
    if not file.is_file():
        raise InvalidValue("constraints file", str(file), "there is no such file")
    path = os.path.relpath(file, folder)
    if path.startswith(".."):
        rule = f"must lie in the list's folder, {folder}: it is read from the copy of it that the script runs in"
        raise InvalidValue("constraints file", str(file), rule)
    return path


def _read_project(file: Path) -> dict[str, Any]:
    """The table `project` of a pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise ExtraMissing("Reading a pyproject.toml on Python 3.10", "tomli", "submit") from None
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
    except OSError as error:
        raise InvalidValue("project file", str(file), f"can't be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidValue("project file", str(file), f"is not TOML: {error}") from None
    dependencies = project.get("dependencies") if isinstance(project, dict) else None
    if not isinstance(dependencies, list) or not all(isinstance(line, str) for line in dependencies):
        raise InvalidValue("project file", str(file), "must list `dependencies` under [project]")
    assert isinstance(project, dict)
    return project


def checked_variables(given: object) -> dict[str, str]:
    """Environment variables as texts. Raises InvalidValue for what no process can be given."""
    variables: dict[Any, str] = dict(texts_of("environment variables", given))
    for name, value in variables.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name + value:
            raise InvalidValue(
                "environment variables", {name: value}, "a name must be a text without '='; no value has NUL"
            )
    return variables


def environment_definition(environment: Environment) -> dict[str, Any]:
    """An environment in the JSON form in which the SDK sends it. The registry's password isn't in it."""
    python, docker = environment.python, environment.docker
    registry = docker.base_image_registry
    return {
        "name": environment.name,
        "version": environment.version,
        "environmentVariables": checked_variables(environment.environment_variables),
        "inferencingStackVersion": environment.inferencing_stack_version,
        "python": {
            "userManagedDependencies": python.user_managed_dependencies,
            "interpreterPath": python.interpreter_path,
            "condaDependencies": python.conda_dependencies.as_dict(),
        },
        "docker": {
            "enabled": docker.enabled,
            "baseImage": docker.base_image,
            "baseDockerfile": docker.base_dockerfile,
            "baseImageRegistry": {"address": registry.address, "username": registry.username},
            "arguments": list(docker.arguments),
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


def environment_of(definition: Mapping[str, Any]) -> Environment:
    """The environment of such a JSON form, ours or the SDK's. Raises InvalidValue if its name or packages are wrong."""
    environment = Environment(definition.get("name") or "")
    python, docker = definition.get("python") or {}, definition.get("docker") or {}
    registry = docker.get("baseImageRegistry") or {}
    environment.version = definition.get("version")
    environment.environment_variables = dict(definition.get("environmentVariables") or {})
    environment.inferencing_stack_version = definition.get("inferencingStackVersion")
    environment.python = PythonSection(
        bool(python.get("userManagedDependencies")), python.get("interpreterPath") or "python"
    )
    if python.get("condaDependencies") is not None:
        environment.python.conda_dependencies = CondaDependencies._of(
            copy.deepcopy(python["condaDependencies"]), f"environment {environment.name}"
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
