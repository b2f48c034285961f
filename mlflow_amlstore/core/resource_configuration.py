"""`ResourceConfiguration`: what a model needs where it is deployed."""

from dataclasses import dataclass
from typing import Any

from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.errors import InvalidValue


@names_the_missing
@dataclass(frozen=True)
class ResourceConfiguration:
    """What a deployment of a model may use where nothing else says so: cores, memory in GB, and graphics processors,
    which have no effect here. Raises InvalidValue for what isn't greater than zero."""

    cpu: float | None = None
    memory_in_gb: float | None = None
    gpu: int | None = None

    def __post_init__(self) -> None:
        for field in ("cpu", "memory_in_gb", "gpu"):
            check_positive(field, getattr(self, field))

    def serialize(self) -> dict[str, Any]:
        """Return it as a dictionary, under the names that Azure ML has."""
        return {"cpu": self.cpu, "memoryInGB": self.memory_in_gb, "gpu": self.gpu}

    @staticmethod
    def deserialize(payload_obj: dict[str, Any] | None) -> "ResourceConfiguration | None":
        """Make one of such a dictionary; None of none."""
        if payload_obj is None:
            return None
        return ResourceConfiguration(*(payload_obj.get(name) for name in ("cpu", "memoryInGB", "gpu")))


def check_positive(field: str, value: object) -> None:
    """Raise InvalidValue for a number that isn't greater than zero; None is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and value > 0):  # type: ignore[operator]
        raise InvalidValue(field, value, "must be greater than zero")
