"""Leases: an agent takes a run, and the run's runner renews the lease until it has done with the run."""

from typing import Any

import msgspec

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.sql.run_leases import LEASE_S, RENEWED_EVERY_S
from mlflow_amlstore.records.types import SNAPSHOT_PROPERTY
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

ROUTES = Routes(Area.EXECUTION)


class Taking(msgspec.Struct, frozen=True, rename="camel"):
    """Who takes a run: the agent's name for itself."""

    agent: str


class Taken(msgspec.Struct, frozen=True, rename="camel"):
    """A run to start: how it was submitted, and the token that it tracks with. Without a run id none waits."""

    run_id: str = ""
    experiment_id: str = ""
    experiment: str = ""
    definition: dict[str, Any] = {}
    snapshot_id: str = ""
    token: str = ""


class Renewal(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the script has started: then nobody else may start it."""

    has_started: bool


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """For how long the run is its runner's, from now on, and how often that is renewed."""

    lasts_s: float
    renewed_every_s: float


@ROUTES.post("/computes/{name}/take", Role.AGENT, Right.WORK)
def take(call: Call, body: Taking) -> Taken:
    """Hand out the run that has waited longest for a target."""
    lease = call.records.run_leases.take(call.path["name"], body.agent)
    if lease is None:
        return Taken()
    record = call.records.runs.get(lease.run_id)
    return Taken(
        lease.run_id,
        record.info.experiment_id,
        call.records.experiments.get(record.info.experiment_id).name,
        call.records.runs.definition(lease.run_id),
        record.properties.get(SNAPSHOT_PROPERTY, ""),
        call.tokens.run_token(lease.key_id, lease.run_id).text,
    )


@ROUTES.put("/runs/{run}/lease", Role.CONTRIBUTOR, Right.HOLD)
def renew(call: Call, body: Renewal) -> Lease:
    """Prolong the lease of the run whose token this is."""
    run_id = _own_run(call)
    if not call.records.run_leases.renew(run_id, has_started=body.has_started):
        raise NotFound("lease", run_id, "It ran out and was taken back, or the run's runner has ended it")
    return Lease(LEASE_S, RENEWED_EVERY_S)


@ROUTES.delete("/runs/{run}/lease", Role.CONTRIBUTOR, Right.HOLD)
def end(call: Call) -> None:
    """End the lease, and with it the token: the runner has done with the run."""
    call.records.run_leases.end(_own_run(call))


def _own_run(call: Call) -> str:
    assert call.caller is not None  # as the route needs a role
    if call.caller.run_id != call.path["run"]:
        raise NotFound("lease", call.path["run"], f"This token is run {call.caller.run_id}'s, and holds no other's")
    return call.caller.run_id
