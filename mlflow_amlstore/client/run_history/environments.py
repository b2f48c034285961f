"""Registered environments of a workspace behind a service: implements `common_store.CommonEnvironments`."""

import builtins
from collections.abc import Mapping
from typing import Any

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.routes import RunHistory
from mlflow_amlstore.errors import NotFound, ServiceError
from mlflow_amlstore.records.types import EnvironmentRecord
from mlflow_amlstore.records.validation import check_environment

# Fields that Azure ML's SDK sends with a capital; it sends `python` and `r` as they are.
_SENT_AS = {
    "environmentVariables": "EnvironmentVariables",
    "docker": "Docker",
    "spark": "Spark",
    "inferencingStackVersion": "InferencingStackVersion",
}
_IN_THE_PATH = ("name", "version")


class RemoteEnvironments:
    """The registered environments of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def put(self, name: str, definition: Mapping[str, Any], version: str | None = None) -> EnvironmentRecord:
        check_environment(name, version)
        given = {_SENT_AS.get(field, field): value for field, value in definition.items() if field not in _IN_THE_PATH}
        return _record(self._history.call_environments("PUT", _path(name, version), {"Name": name, **given}))

    def get(self, name: str, version: str | None = None) -> EnvironmentRecord:
        check_environment(name, version)
        try:
            return _record(self._history.call_environments("GET", _path(name, version)))
        except ServiceError as error:
            if error.http_status != 404:
                raise
            raise _not_found(name, version, error.message) from None

    def list(self) -> builtins.list[EnvironmentRecord]:
        records: builtins.list[EnvironmentRecord] = []
        continuation = None
        while True:
            page = self._history.call_environments("GET", "", params={"continuation": continuation})
            records += [_record(found) for found in page.get("value") or ()]
            continuation = page.get("continuationToken")
            if not continuation:
                return records


def _path(name: str, version: str | None) -> str:
    return segment(name) if version is None else f"{segment(name)}/versions/{segment(version)}"


def _record(found: Mapping[str, Any]) -> EnvironmentRecord:
    return EnvironmentRecord(str(found["name"]), str(found["version"]), dict(found))


def _not_found(name: str, version: str | None, message: str) -> NotFound:
    """The service's sentence as our error: it says what there is."""
    keys = [name] if version is None else [name, f"{name}:{version}"]
    for key in keys:
        said = f"{NotFound('environment', key)}. "
        if message.startswith(said):
            return NotFound("environment", key, message.removeprefix(said))
    return NotFound("environment", keys[-1], message)
