"""Endpoints of a workspace behind a service: implements `records.common_store.CommonEndpoints`."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from mlflow_amlstore.client.run_history.routes import RunHistory
from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.records.types import DeploymentSpec, EndpointEvent, EndpointRecord, EndpointSpec


class RemoteEndpoints:
    """The endpoints of one workspace behind a service, which can't be reached from here yet."""

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
        _refuse()

    def deploy(
        self, name: str, deployment: DeploymentSpec, *, traffic: Mapping[int, int] | None = None
    ) -> EndpointRecord:
        _refuse()

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
        _refuse()

    def delete(self, name: str) -> None:
        _refuse()

    def get(self, name: str) -> EndpointRecord:
        _refuse()

    def list(self) -> list[EndpointRecord]:
        _refuse()

    def keys(self, name: str) -> tuple[str, str]:
        _refuse()

    def set_key(self, name: str, which: str, key: str | None = None) -> None:
        _refuse()

    def events(self, name: str, *, after: int = 0) -> Sequence[EndpointEvent]:
        _refuse()


def _refuse() -> NoReturn:
    raise NotSupported(
        "An endpoint of a workspace behind a service", "Deploy in the workspace's folder, on its machine"
    )
