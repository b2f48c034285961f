"""Registered environments, as Azure ML's SDK calls them: versions of what describes the Python of submitted scripts."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlflow_amlstore.errors import NotFound, NotSupported
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.ENVIRONMENT)

_LATEST = "latest"
# What isn't here, and what to do instead.
_IMAGE = ("A Docker image of an environment", "It is built from its packages on the machine that runs a script with it")
_LABEL = ("A label of an environment", "The latest version has the label 'latest'; get another one by its version")
# What the SDK asks of these. After a 404 it would say that the environment isn't registered.
_REFUSED = {
    _IMAGE: """
        GET /environments/{name}/image
        GET /environments/{name}/versions/{version}/image
        POST /environments/{name}/versions/{version}/image
        POST /environments/{name}/versions/{version}/imageoncompute/{compute}
        POST /environments/{name}/recipe
        POST /environments/{name}/versions/{version}/recipe
    """,
    _LABEL: "PUT /environments/{name}/versions/{version}/metadata",
}


class NewDefinition(
    msgspec.Struct,
    frozen=True,
    rename={
        "environment_variables": "EnvironmentVariables",
        "docker": "Docker",
        "spark": "Spark",
        "inferencing_stack_version": "InferencingStackVersion",
    },
):
    """What the SDK sends of an environment, spelled as it does, but for its packages of R.

    Its name and version are in the path.
    """

    python: dict[str, Any] | UnsetType | None = UNSET
    environment_variables: dict[str, str] | UnsetType | None = UNSET
    docker: dict[str, Any] | UnsetType | None = UNSET
    spark: dict[str, Any] | UnsetType | None = UNSET
    inferencing_stack_version: str | UnsetType | None = UNSET


_TOLD_AS = {"environment_variables": "environmentVariables", "inferencing_stack_version": "inferencingStackVersion"}


class Definitions(msgspec.Struct, frozen=True):
    """The latest version of each environment, by name."""

    value: list[dict[str, Any]]


@ROUTES.get("/environments/", Role.READER, Right.SUBMIT, is_long=True)
def list_latest(call: Call) -> Definitions:
    """List the latest version of each environment."""
    return Definitions([record.definition for record in call.records.environments.list()])


@ROUTES.get("/environments/{name}", Role.READER, Right.SUBMIT)
def get_latest(call: Call) -> dict[str, Any]:
    """Give the latest version of an environment."""
    return call.records.environments.get(call.path["name"]).definition


@ROUTES.get("/environments/{name}/labels/{label}", Role.READER, Right.SUBMIT)
def get_labeled(call: Call) -> dict[str, Any]:
    """Give the latest version of an environment, which the label `latest` means. There is no other label."""
    name, label = call.path["name"], call.path["label"]
    if label != _LATEST:
        raise NotFound("label", label, f"An environment has no other than {_LATEST!r}")
    return call.records.environments.get(name).definition


@ROUTES.get("/environments/{name}/versions/{version}", Role.READER, Right.SUBMIT)
def get_version(call: Call) -> dict[str, Any]:
    """Give a version of an environment."""
    return call.records.environments.get(call.path["name"], call.path["version"]).definition


@ROUTES.put("/environments/{name}", Role.CONTRIBUTOR, Right.SUBMIT)
def register(call: Call, body: NewDefinition) -> dict[str, Any]:
    """Register a definition: the version that has it, or the next one."""
    return _registered(call, body, None)


@ROUTES.put("/environments/{name}/versions/{version}", Role.CONTRIBUTOR, Right.SUBMIT)
def register_version(call: Call, body: NewDefinition) -> dict[str, Any]:
    """Register a definition: the version that has it, or a new one of this name; where that is taken, the next one."""
    return _registered(call, body, call.path["version"])


def _registered(call: Call, body: NewDefinition, version: str | None) -> dict[str, Any]:
    given = {
        _TOLD_AS.get(name, name): value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET
    }
    return call.records.environments.put(call.path["name"], _without_secrets(given), version).definition


def with_definition(call: Call, configuration: dict[str, Any]) -> dict[str, Any]:
    """A submitted configuration whose environment is defined in it, without the secrets that the SDK sends along.

    An environment of a name and a version alone (the SDK's `EnvironmentReference`) is a registered one. Raises
    NotFound, InvalidValue.
    """
    environment = configuration.get("environment")
    if not isinstance(environment, dict):
        return configuration
    if environment.get("name") and environment.keys() <= {"name", "version"}:
        environment = call.records.environments.get(environment["name"], environment.get("version")).definition
    return {**configuration, "environment": _without_secrets(environment)}


def _without_secrets(sent: dict[str, Any]) -> dict[str, Any]:
    """Nothing here takes an image from its registry, or packages of R, which may come with a token."""
    kept = {name: value for name, value in sent.items() if name != "r"}
    docker = kept.get("docker")
    registry = docker.get("baseImageRegistry") if isinstance(docker, dict) else None
    if isinstance(docker, dict) and isinstance(registry, dict) and "password" in registry:
        kept["docker"] = {**docker, "baseImageRegistry": {**registry, "password": None}}
    return kept


def _refusal(what: str, instead: str) -> Callable[[Call], None]:
    def refuse(call: Call) -> None:
        raise NotSupported(what, instead)

    refuse.__doc__ = f"Answers NOT_IMPLEMENTED: {what}."
    return refuse


for _refused, _lines in _REFUSED.items():
    for _line in filter(None, map(str.strip, _lines.split("\n"))):
        _method, _path = _line.split()
        ROUTES.add(_method, _path, Role.READER, Right.SUBMIT)(_refusal(*_refused))
