"""Endpoints as our service tells of them: JSON of the records' types, whose fields have the same names."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from mlflow_amlstore.records.types import (
    DeploymentError,
    DeploymentRecord,
    DeploymentSpec,
    EndpointHost,
    EndpointRecord,
    EndpointSpec,
    EndpointState,
)

T = TypeVar("T")


def endpoint_record(told: Mapping[str, Any]) -> EndpointRecord:
    """An endpoint; what another version of the service says besides is left out."""
    return read_as(
        EndpointRecord,
        told,
        spec=read_as(EndpointSpec, told["spec"]),
        deployments=tuple(map(_deployment, told["deployments"])),
        wanted=_traffic(told["wanted"]),
        serving=_traffic(told["serving"]),
        host=None if told["host"] is None else read_as(EndpointHost, told["host"]),
    )


def read_as(kind: type[T], told: Mapping[str, Any], **given: Any) -> T:
    """A dataclass of what was told under the names of its fields, but for what is given."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{**{name: told[name] for name in names if name in told}, **given})


def _deployment(told: Mapping[str, Any]) -> DeploymentRecord:
    return read_as(
        DeploymentRecord,
        told,
        spec=read_as(DeploymentSpec, told["spec"], models=tuple(told["spec"]["models"])),
        state=EndpointState(told["state"]),
        error=None if told["error"] is None else read_as(DeploymentError, told["error"]),
    )


def _traffic(told: Mapping[str, int]) -> dict[int, int]:
    return {int(number): percent for number, percent in told.items()}
