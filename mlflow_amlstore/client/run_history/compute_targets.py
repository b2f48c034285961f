"""Compute targets of a workspace behind a service: implements `common_store.CommonComputeTargets`."""

import builtins
from collections.abc import Mapping
from typing import Any

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory, named
from mlflow_amlstore.errors import NotFound, ServiceError
from mlflow_amlstore.records.types import NO_SUCH_TARGET, ComputeTargetRecord


class RemoteComputeTargets:
    """The compute targets of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def put(self, name: str, kind: str, slots: int, settings: Mapping[str, Any]) -> ComputeTargetRecord:
        given = {"kind": kind, "slots": slots, "settings": dict(settings)}
        return _record(self._history.call_execution("PUT", f"computes/{segment(name)}", given))

    def get(self, name: str) -> ComputeTargetRecord:
        try:
            return _record(self._history.call_execution("GET", f"computes/{segment(name)}"))
        except ServiceError as error:
            if error.http_status == 404:
                raise NotFound("compute target", name, NO_SUCH_TARGET) from None
            raise

    def list(self) -> builtins.list[ComputeTargetRecord]:
        return [_record(found) for found in self._history.call_execution("GET", "computes")["value"]]

    def delete(self, name: str) -> None:
        with named("compute target", name):
            self._history.call_execution("DELETE", f"computes/{segment(name)}")


def _record(found: Mapping[str, Any]) -> ComputeTargetRecord:
    return ComputeTargetRecord(
        str(found["name"]), str(found["kind"]), int(found["slots"]), dict(found["settings"]), int(found["createdMs"])
    )
