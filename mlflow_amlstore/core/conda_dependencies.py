"""`CondaDependencies`: the packages of a Python environment, as conda's environment files list them."""

import copy
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow_amlstore.core.local_files import PathText
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.errors import InvalidValue

_ENVIRONMENT_NAME = "project_environment"
_CHANNELS = ["conda-forge"]
_DEFAULT_FILE = "conda_dependencies.yml"
_END_OF_NAME = re.compile(r"[\s=<>!~;@\[]")
_INDEX_OPTION = "--index-url"


@names_the_missing
class CondaDependencies:
    """A list of conda packages, pip packages and channels, which is a conda environment file.

    A new list has the Python version of this process and nothing else. Adding a package again replaces its entry.

    >>> dependencies = CondaDependencies.create(pip_packages=["scikit-learn"], python_version="3.11")
    >>> dependencies.add_pip_package("scikit-learn>=1.5")
    >>> print(dependencies.serialize_to_string(), end="")
    name: project_environment
    channels:
    - conda-forge
    dependencies:
    - python=3.11
    - pip
    - pip:
      - scikit-learn>=1.5
    """

    def __init__(self, conda_dependencies_file_path: PathText | None = None) -> None:
        """Read a conda environment file. Raises InvalidValue if it can't be read or isn't one."""
        if conda_dependencies_file_path is None:
            python = f"python={sys.version_info.major}.{sys.version_info.minor}"
            self._content: dict[str, Any] = {
                "name": _ENVIRONMENT_NAME,
                "channels": list(_CHANNELS),
                "dependencies": [python],
            }
        else:
            self._content = _read(Path(conda_dependencies_file_path))

    @classmethod
    def _of(cls, content: object, source: str) -> "CondaDependencies":
        self = cls.__new__(cls)
        self._content = _checked(content, source)
        return self

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: Iterable[str] | None = None,
        conda_packages: Iterable[str] | None = None,
        python_version: str | None = None,
        pin_sdk_version: bool = True,
    ) -> "CondaDependencies":
        """List packages; `python_version` is such as `3.11`, this process's by default.

        `pin_sdk_version` is accepted for old scripts: nothing is pinned.
        """
        self = CondaDependencies()
        if python_version is not None:
            self.set_python_version(python_version)
        if pip_indexurl is not None:
            self.set_pip_index_url(pip_indexurl)
        for package in conda_packages or ():
            self.add_conda_package(package)
        for package in pip_packages or ():
            self.add_pip_package(package)
        return self

    @property
    def conda_channels(self) -> list[str]:
        """The channels, in the order in which conda asks them."""
        return list(self._content.get("channels") or ())

    @property
    def conda_packages(self) -> list[str]:
        """The conda packages, Python among them."""
        return [item for item in self._dependencies if isinstance(item, str)]

    @property
    def pip_packages(self) -> list[str]:
        """The pip packages."""
        return [line for line in self._pip_lines() if not line.startswith("-")]

    @property
    def pip_options(self) -> list[str]:
        """The options of pip, such as `--index-url https://…`."""
        return [line for line in self._pip_lines() if line.startswith("-")]

    def add_channel(self, channel: str) -> None:
        """Add a channel, after those that are there."""
        if channel not in self.conda_channels:
            self._content["channels"] = [*self.conda_channels, channel]

    def remove_channel(self, channel: str) -> None:
        """Remove a channel. One that isn't there is ignored."""
        self._content["channels"] = [known for known in self.conda_channels if known != channel]

    def add_conda_package(self, conda_package: str) -> None:
        """Add a conda package, such as `numpy` or `numpy=2.1`."""
        _put(self._dependencies, conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        """Remove a conda package, whatever its version. One that isn't there is ignored."""
        _drop(self._dependencies, conda_package)

    def add_pip_package(self, pip_package: str) -> None:
        """Add a pip package, such as `pandas` or `pandas>=2`."""
        _put(self._pip_to_change(), pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        """Remove a pip package, whatever its version. One that isn't there is ignored."""
        _drop(self._pip_lines(), pip_package)

    def set_pip_requirements(self, pip_requirements: Iterable[str]) -> None:
        """Replace all pip packages and options by the lines of a requirements file."""
        self._pip_to_change()[:] = list(pip_requirements)

    def set_pip_option(self, pip_option: str) -> None:
        """Add an option of pip, such as `--pre`."""
        if pip_option not in self.pip_options:
            self._pip_to_change().insert(len(self.pip_options), pip_option)

    def remove_pip_option(self, pip_option: str) -> None:
        """Remove an option of pip, whatever its value. One that isn't there is ignored."""
        name = pip_option.split()[0]
        lines = self._pip_lines()
        lines[:] = [line for line in lines if line.split()[0] != name]

    def set_pip_index_url(self, index_url: str) -> None:
        """Set the address of the index that pip asks."""
        self.remove_pip_option(_INDEX_OPTION)
        self.set_pip_option(f"{_INDEX_OPTION} {index_url}")

    def get_python_version(self) -> str | None:
        """Return the Python version; None if the list has none."""
        python = next((package for package in self.conda_packages if _name_of(package) == "python"), "")
        return python.removeprefix("python").lstrip("=") or None

    def set_python_version(self, version: str) -> None:
        """Set the Python version, such as `3.11`."""
        self.remove_conda_package("python")
        self._dependencies.insert(0, f"python={version}")

    def as_dict(self) -> dict[str, Any]:
        """Return a copy of the file's content."""
        return copy.deepcopy(self._content)

    def serialize_to_string(self) -> str:
        """Return the text of the conda environment file."""
        import yaml  # needed here alone

        return str(yaml.safe_dump(self._content, sort_keys=False, allow_unicode=True))

    def save(self, path: PathText | None = None) -> str:
        """Write the conda environment file (`conda_dependencies.yml` by default) and return its path."""
        file = Path(_DEFAULT_FILE if path is None else path)
        if file.is_dir() or not file.parent.is_dir():
            raise InvalidValue("path", str(file), "must be a file in a folder that is there")
        file.write_text(self.serialize_to_string(), encoding="utf-8")
        return str(file)

    def save_to_file(self, base_directory: PathText, conda_file_path: PathText | None = None) -> str:
        """Write the conda environment file into a folder and return its name there."""
        name = _DEFAULT_FILE if conda_file_path is None else str(conda_file_path)
        self.save(Path(base_directory, name))
        return name

    def __repr__(self) -> str:
        return f"CondaDependencies({self._content!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CondaDependencies) and other._content == self._content

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def _dependencies(self) -> list[Any]:
        dependencies: list[Any] = self._content.setdefault("dependencies", [])
        return dependencies

    def _pip_lines(self) -> list[str]:
        """The list under `pip` itself, not a copy; an empty list if there is none."""
        found = (item["pip"] for item in self._dependencies if isinstance(item, dict) and "pip" in item)
        return next(found, [])

    def _pip_to_change(self) -> list[str]:
        if not any(isinstance(item, dict) and "pip" in item for item in self._dependencies):
            if "pip" not in map(_name_of, self.conda_packages):
                self._dependencies.append("pip")  # which conda wants to be told
            self._dependencies.append({"pip": []})
        return self._pip_lines()


def _name_of(package: str) -> str:
    return _END_OF_NAME.split(package.strip(), maxsplit=1)[0].rpartition("::")[2].lower().replace("_", "-")


def _put(packages: list[Any], package: object) -> None:
    if not isinstance(package, str) or not _name_of(package):
        raise InvalidValue("package", package, "must be a text such as 'numpy' or 'numpy=2.1'")
    for index, known in enumerate(packages):
        if isinstance(known, str) and _name_of(known) == _name_of(package):
            packages[index] = package
            return
    at = next((index for index, known in enumerate(packages) if isinstance(known, dict)), len(packages))
    packages.insert(at, package)


def _drop(packages: list[Any], package: str) -> None:
    name = _name_of(package)
    packages[:] = [known for known in packages if not isinstance(known, str) or _name_of(known) != name]


def _read(file: Path) -> dict[str, Any]:
    import yaml  # needed here alone

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue("conda file", str(file), f"can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidValue("conda file", str(file), f"is not YAML: {error}") from None
    return _checked(content, str(file))


def _checked(content: object, source: str) -> dict[str, Any]:
    is_file = isinstance(content, dict) and all(
        isinstance(content.get(key) or [], list) for key in ("channels", "dependencies")
    )
    if not is_file:
        raise InvalidValue("conda file", source, "must have the lists 'dependencies' and, if need be, 'channels'")
    assert isinstance(content, dict)
    content["dependencies"] = content.get("dependencies") or []
    return content
