"""Endpoints of a workspace behind a service: implements `records.common_store.CommonEndpoints`.

The service's agents run them, and it routes requests to them: a record's host has the service's own address.
"""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from mlflow_amlstore.client.http.service_call import segment
from mlflow_amlstore.client.run_history.endpoint_documents import endpoint_record, read_as
from mlflow_amlstore.client.run_history.routes import RunHistory
from mlflow_amlstore.errors import AlreadyExists, InvalidState, NotFound, ServiceError
from mlflow_amlstore.records.endpoint_rules import (
    KEYS,
    check_endpoint,
    check_endpoint_key,
    check_traffic,
    check_which_key,
    checked_deployment,
)
from mlflow_amlstore.records.types import DeploymentSpec, EndpointEvent, EndpointRecord, EndpointSpec


class RemoteEndpoints:
    """The endpoints of one workspace."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history

    def create(
        self,
        spec: EndpointSpec,
        deployment: DeploymentSpec,
        *,
        keys: tuple[str, str] | None = None,
        overwrite: bool = False,
    ) -> EndpointRecord:
        check_endpoint(spec)
        if keys is not None:
            keys = (check_endpoint_key(KEYS[0], keys[0]), check_endpoint_key(KEYS[1], keys[1]))
        deployment = checked_deployment(deployment)
        given = {"spec": asdict(spec), "deployment": asdict(deployment), "keys": keys, "overwrite": overwrite}
        with _about(spec.name, spec.target, deployment.models):
            return endpoint_record(self._history.call_execution("POST", "endpoints", given))

    def deploy(
        self, name: str, deployment: DeploymentSpec, *, traffic: Mapping[int, int] | None = None
    ) -> EndpointRecord:
        deployment = checked_deployment(deployment)
        if traffic is not None:
            check_traffic(traffic, len(self.get(name).deployments) + 1)
        given = {"deployment": asdict(deployment), "traffic": traffic}
        return self._asked("POST", name, "/deployments", given, models=deployment.models)

    def update(
        self,
        name: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        auth: bool | None = None,
        traffic: Mapping[int, int] | None = None,
    ) -> EndpointRecord:
        if traffic is not None:
            check_traffic(traffic, len(self.get(name).deployments))
        given = {"description": description, "tags": tags, "properties": properties, "auth": auth, "traffic": traffic}
        return self._asked("PATCH", name, "", given)

    def delete(self, name: str) -> None:
        self._call("DELETE", name)

    def get(self, name: str) -> EndpointRecord:
        return self._asked("GET", name)

    def list(self) -> builtins.list[EndpointRecord]:
        return [endpoint_record(told) for told in self._history.call_execution("GET", "endpoints")["value"]]

    def keys(self, name: str) -> tuple[str, str]:
        answer = self._call("GET", name, "/keys")
        return str(answer["primary"]), str(answer["secondary"])

    def set_key(self, name: str, which: str, key: str | None = None) -> None:
        check_which_key(which)
        given = None if key is None else check_endpoint_key(which, key)
        self._call("PUT", name, "/keys", {"which": which, "key": given})

    def events(self, name: str, *, after: int = 0) -> Sequence[EndpointEvent]:
        answer = self._call("GET", name, "/events", params={"after": after})
        return [read_as(EndpointEvent, told) for told in answer["value"]]

    def _asked(
        self, method: str, name: str, more: str = "", given: Any = None, models: Sequence[str] = ()
    ) -> EndpointRecord:
        return endpoint_record(self._call(method, name, more, given, models=models))

    def _call(
        self,
        method: str,
        name: str,
        more: str = "",
        given: Any = None,
        params: dict[str, Any] | None = None,
        models: Sequence[str] = (),
    ) -> Any:
        with _about(name, None, models):
            return self._history.call_execution(method, f"endpoints/{segment(name)}{more}", given, params)


@contextmanager
def _about(name: str, target: str | None, models: Sequence[str]) -> Iterator[None]:
    """What the service says of an endpoint, its target or its models is raised as our own errors."""
    try:
        yield
    except ServiceError as error:
        named = [("endpoint", name), *(("model", model) for model in models)]
        if target is not None:
            named.append(("compute target", target))
        for kind, key in named:
            for ours in (NotFound, AlreadyExists):
                said = str(ours(kind, key))
                if error.message == said or error.message.startswith(f"{said}. "):
                    raise ours(kind, key, error.message[len(said) + 2 :]) from None
        if error.error_code == InvalidState.mlflow_code:
            raise InvalidState(error.message) from None
        raise
