"""Submitting over a service: what becomes a run there, and the lease of a run whose script runs on this machine."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory, named


class TakenRun(NamedTuple):
    """A run that an agent has taken. `token` is the run's own, `snapshot_id` empty where it has no files."""

    run_id: str
    experiment_id: str
    experiment: str
    definition: dict[str, Any]
    snapshot_id: str
    token: str


class RemoteSubmissions:
    """Submissions to one workspace. Each call raises what `Connection.request` does."""

    def __init__(self, connection: Connection) -> None:
        self._history = RunHistory(connection)

    @property
    def has_limits(self) -> bool:
        """Whether the service has Azure ML's limits: then no log can grow there."""
        return self._history.connection.known_limits() is not None

    def submit_local(self, experiment: str, run_id: str, submission: Mapping[str, Any]) -> str:
        """Have a run recorded whose script this machine runs; return the run's own token."""
        path = f"experiments/{segment(experiment)}/runs/{segment(run_id)}/local"
        return str(self._history.call_execution("POST", path, dict(submission))["token"])

    def submit_to_agents(self, experiment: str, run_id: str, submission: Mapping[str, Any]) -> None:
        """Have a run wait for an agent of its target."""
        path = f"experiments/{segment(experiment)}/runs/{segment(run_id)}/agents"
        self._history.call_execution("POST", path, dict(submission))

    def submit_to_azure(self, experiment: str, run_id: str, submission: Mapping[str, Any]) -> str:
        """Have Azure ML run a script on its compute target, as the SDK does; return the run's id."""
        sent = {name: submission[name] for name in ("Configuration", "SnapshotId", "ParentRunId")}
        path = f"experiments/{segment(experiment)}/snapshotrun"
        answer = self._history.call_execution(
            "POST", path, {**sent, "TargetDetails": None, "TelemetryValues": {}}, {"runId": run_id}
        )
        return str(answer["runId"])

    def begin_to_work(self, target: str, slots: int) -> tuple[str, int]:
        """Say that an agent begins to work for a target; return the service's machine and user number."""
        answer = self._history.call_execution("POST", f"computes/{segment(target)}/agents", {"slots": slots})
        return str(answer["machine"]), int(answer["userNumber"])

    def take(self, target: str, agent: str) -> TakenRun | None:
        """Take the run that has waited longest for a target; None where none waits."""
        answer = self._history.call_execution("POST", f"computes/{segment(target)}/take", {"agent": agent})
        if not answer["runId"]:
            return None
        names = ("runId", "experimentId", "experiment", "definition", "snapshotId", "token")
        return TakenRun(*(answer[name] for name in names))


class RemoteLease:
    """The lease of one run, renewed with the run's own token."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._history, self._run_id = RunHistory(connection), run_id

    def renew(self, *, has_started: bool) -> tuple[float, float]:
        """Renew it; return for how many seconds it is, and after how many it is to be renewed.

        Raises NotFound where it was taken back.
        """
        with named("lease", self._run_id):
            answer = self._history.call_lease("PUT", self._run_id, {"hasStarted": has_started})
        return float(answer["lastsS"]), float(answer["renewedEveryS"])

    def end(self) -> None:
        """End it, and the token with it."""
        self._history.call_lease("DELETE", self._run_id)
