"""The Python that a deployment runs with: this one where it has what the model was trained with, else a built one."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from mlflow_amlstore.errors import EnvironmentFailed, ExtraMissing
from mlflow_amlstore.hosting.served_folder import Served
from mlflow_amlstore.records.types import DeploymentSpec
from mlflow_amlstore.runner.environments import interpreter_of

_EXTRA = "deploy"


def interpreter_for(spec: DeploymentSpec, served: Served, *, say: Callable[[str], object], source: Path) -> list[str]:
    """Return the command that starts Python for a deployment, whose environment is built first if need be.

    An environment that was given decides. Without one, the model's requirements do: where this process's interpreter
    meets them, nothing is built, and no network is needed. `say` is told of what is built and why; `source` is where
    relative paths of the environment lead. Raises EnvironmentFailed, InvalidValue.
    """

    def output(line: bytes) -> None:
        say(line.decode("utf-8", "replace").rstrip())

    if spec.environment is not None:
        return interpreter_of(spec.environment, output=output, folder=source, extra=_EXTRA)
    missing = unmet(served.requirements)
    if not missing:
        return [sys.executable]
    what = "; ".join(missing)
    say(f"The model was trained with other packages than this Python has ({what}): its own environment is needed")
    try:
        return interpreter_of(_environment(spec, served), output=output, folder=served.path, extra=_EXTRA)
    except ExtraMissing as error:
        raise EnvironmentFailed(", ".join(spec.models), f"{what}, and no other can be built: {error}") from error


def unmet(requirements: list[str]) -> list[str]:
    """The requirements that this process's interpreter doesn't meet, each with what it has."""
    found = []
    for line in requirements:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # a URL or an option of pip's
            found.append(f"{line}: can't be compared")
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            here = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{requirement.name} {requirement.specifier} isn't installed")
            continue
        if not requirement.specifier.contains(here, prereleases=True):
            found.append(f"{requirement.name} {requirement.specifier}, here {here}")
    return found


def _environment(spec: DeploymentSpec, served: Served) -> dict[str, Any]:
    """The environment that a model's requirements describe, as the SDK sends one."""
    dependencies: list[Any] = [{"pip": served.requirements}]
    if served.python:
        dependencies.insert(0, "python=" + ".".join(served.python.split(".")[:2]))
    return {
        "name": ", ".join(spec.models),
        "python": {"userManagedDependencies": False, "condaDependencies": {"dependencies": dependencies}},
    }
