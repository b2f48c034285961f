"""Compute targets of a workspace behind a service: not yet."""

from collections.abc import Mapping
from typing import Any, NoReturn

from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.records.types import ComputeTargetRecord


class RemoteComputeTargets:
    """Implements `common_store.CommonComputeTargets`: each call raises NotSupported."""

    def put(self, name: str, kind: str, slots: int, settings: Mapping[str, Any]) -> ComputeTargetRecord:
        _refuse()

    def get(self, name: str) -> ComputeTargetRecord:
        _refuse()

    def list(self) -> list[ComputeTargetRecord]:
        _refuse()

    def delete(self, name: str) -> None:
        _refuse()


def _refuse() -> NoReturn:
    raise NotSupported("A compute target of a workspace behind a service", "Use a workspace in a folder")
