"""Compute targets: names that runs are submitted to. An agent makes the pool that it works for."""

import os
from typing import Any

import msgspec

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.machine import this_machine
from mlflow_amlstore.records.types import AGENTS, ComputeTargetRecord
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.EXECUTION)


class ComputeTarget(msgspec.Struct, frozen=True, rename="camel"):
    """A target: its kind in Azure ML's word or `Agents`, how many runs run at a time, what it was made with."""

    name: str
    kind: str
    slots: int
    settings: dict[str, Any]
    created_ms: int


class ComputeTargets(msgspec.Struct, frozen=True):
    """All targets by name."""

    value: list[ComputeTarget]


class NewTarget(msgspec.Struct, frozen=True):
    """What a target is made with."""

    kind: str
    slots: int
    settings: dict[str, Any] = {}


class Agent(msgspec.Struct, frozen=True):
    """An agent that begins to work for a target."""

    slots: int


class ServiceProcess(msgspec.Struct, frozen=True, rename="camel"):
    """On which machine the service runs, and as which user: an agent beside it must know whom it trusts."""

    machine: str
    user_number: int


@ROUTES.get("/computes", Role.READER, Right.SUBMIT)
def list_targets(call: Call) -> ComputeTargets:
    """List the targets."""
    return ComputeTargets([_told(record) for record in call.records.compute_targets.list()])


@ROUTES.get("/computes/{name}", Role.READER, Right.SUBMIT)
def get(call: Call) -> ComputeTarget:
    """Tell of a target."""
    return _told(call.records.compute_targets.get(call.path["name"]))


@ROUTES.put("/computes/{name}", Role.CONTRIBUTOR, Right.SUBMIT)
def put(call: Call, body: NewTarget) -> ComputeTarget:
    """Make a target of slots on the submitters' machines, or change it."""
    name = call.path["name"]
    if body.kind == AGENTS or _is_agents(call, name):
        raise InvalidValue("kind", body.kind, "can't be made or changed here: an agent makes its own pool")
    return _told(call.records.compute_targets.put(name, body.kind, body.slots, body.settings))


@ROUTES.delete("/computes/{name}", Role.CONTRIBUTOR, Right.SUBMIT)
def delete(call: Call) -> None:
    """Delete a target."""
    call.records.compute_targets.delete(call.path["name"])


@ROUTES.post("/computes/{name}/agents", Role.AGENT, Right.WORK)
def begin(call: Call, body: Agent) -> ServiceProcess:
    """Begin to work for a pool, which is made where there is none of this name."""
    name = call.path["name"]
    try:
        if call.records.compute_targets.get(name).kind != AGENTS:
            raise InvalidValue("compute", name, "is slots on the submitters' machines; choose a name of its own")
    except NotFound:
        call.records.compute_targets.put(name, AGENTS, body.slots, {})
    return ServiceProcess(this_machine(), os.getuid() if hasattr(os, "getuid") else -1)


def _is_agents(call: Call, name: str) -> bool:
    try:
        return call.records.compute_targets.get(name).kind == AGENTS
    except NotFound:
        return False


def _told(record: ComputeTargetRecord) -> ComputeTarget:
    return ComputeTarget(record.name, record.kind, record.slots, record.settings, record.created_ms)
