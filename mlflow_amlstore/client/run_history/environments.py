"""Registered environments of a workspace behind a service: not yet."""

from collections.abc import Mapping
from typing import Any, NoReturn

from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.records.types import EnvironmentRecord


class RemoteEnvironments:
    """Implements `common_store.CommonEnvironments`: each call raises NotSupported."""

    def put(self, name: str, definition: Mapping[str, Any], version: str | None = None) -> EnvironmentRecord:
        _refuse()

    def get(self, name: str, version: str | None = None) -> EnvironmentRecord:
        _refuse()

    def list(self) -> list[EnvironmentRecord]:
        _refuse()


def _refuse() -> NoReturn:
    raise NotSupported("A registered environment of a workspace behind a service", "Use a workspace in a folder")
