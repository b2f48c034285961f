"""MLflow's calls about one run of a workspace over the network. Runs, params, tags and metrics are MLflow's messages.

Every function raises what `Connection.request` does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_amlstore.client.connection import Connection

_API = "/api/2.0/mlflow/runs"

Pair = Mapping[str, str]
"""A param or tag as MLflow's messages have it: `key` and `value`."""


def call(connection: Connection, action: str, given: Mapping[str, Any]) -> Any:
    """POST to one of the routes about runs, such as `create`, and return the answer."""
    return connection.request("POST", f"{connection.mlflow_path}{_API}/{action}", json=dict(given))


def both_ids(run_id: str) -> dict[str, str]:
    """A run's id under both of its names, as MLflow's own client sends it."""
    return {"run_uuid": run_id, "run_id": run_id}


def get_run(connection: Connection, run_id: str) -> Any:
    """Return a run as its record has it."""
    return connection.request("GET", f"{connection.mlflow_path}{_API}/get", params=both_ids(run_id))["run"]


def tags_of(run: Any) -> dict[str, str]:
    """The tags of a run, by name."""
    return {tag["key"]: tag.get("value", "") for tag in run.get("data", {}).get("tags") or ()}


def log_batch(
    connection: Connection,
    run_id: str,
    *,
    metrics: Sequence[Any] = (),
    params: Sequence[Pair] = (),
    tags: Sequence[Pair] = (),
) -> None:
    """Log metrics, params and tags: all, or none."""
    given = {"run_id": run_id, "metrics": list(metrics), "params": list(params), "tags": list(tags)}
    call(connection, "log-batch", given)


def set_tag(connection: Connection, run_id: str, name: str, value: str) -> None:
    """Set one tag."""
    call(connection, "set-tag", {**both_ids(run_id), "key": name, "value": value})


def delete_tag(connection: Connection, run_id: str, name: str) -> None:
    """Delete one tag, which must be there."""
    call(connection, "delete-tag", {"run_id": run_id, "key": name})
