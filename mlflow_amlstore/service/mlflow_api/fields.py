"""What many of MLflow's messages are made of, and how its values are written in JSON."""

import json
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Annotated, Any

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.protocol.views import MLFLOW_VIEWS
from mlflow_amlstore.records.types import View
from mlflow_amlstore.records.validation import MAX_TAG_VALUE_LENGTH

Given = Annotated[str, msgspec.Meta(min_length=1)]  # to MLflow an empty string is one that is missing

_VIEWS = {word: view for view, word in MLFLOW_VIEWS.items()} | {"1": View.ACTIVE, "2": View.DELETED, "3": View.ALL}


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A param or tag."""

    key: Given
    value: str = ""


class Metric(msgspec.Struct, frozen=True, gc=False):
    """A point as it is answered; `value` is a word where JSON has no number for it."""

    key: str
    value: float | str
    timestamp: int
    step: int


class HasRunId:
    """A message that has a run's id under one of its two names."""

    __slots__ = ()
    run_id: str | None
    run_uuid: str | None

    @property
    def run(self) -> str:
        """The id. Raises InvalidValue where there is none."""
        run_id = self.run_id or self.run_uuid
        if not run_id:
            raise InvalidValue("run_id", run_id, "must be given")
        return run_id


class OfRun(HasRunId, msgspec.Struct):
    """A request about a run."""

    run_id: str | None = None
    run_uuid: str | None = None


def number(value: float) -> float | str:
    """A float as protobuf's JSON has it: NaN and the infinities are words."""
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def key_values(values: dict[str, str]) -> list[KeyValue]:
    """Params or tags as MLflow lists them."""
    return [KeyValue(name, value) for name, value in values.items()]


def by_key(items: Iterable[KeyValue] | None) -> dict[str, str]:
    """The reverse of `key_values`; the last of a name counts."""
    return {item.key: item.value for item in items or ()}


def cut(items: Sequence[KeyValue] | None, limit: int) -> list[tuple[str, str]]:
    """Params or tags of a run as pairs; values too long are cut, as MLflow's server does unless told otherwise."""
    return [(item.key, item.value[:limit]) for item in items or ()]


def view_of(view_type: str | int | None) -> View:
    """MLflow's ViewType, by its word or number. Raises InvalidValue."""
    if view_type is None:
        return View.ACTIVE
    try:
        return _VIEWS[str(view_type)]
    except KeyError:
        raise InvalidValue("view_type", view_type, "must be ACTIVE_ONLY, DELETED_ONLY or ALL") from None


def json_list_as_tag(items: Sequence[Any]) -> str:
    """A list as a tag's value; the oldest items go where it would be too long."""
    for first in range(len(items)):
        text = json.dumps(items[first:])
        if len(text) <= MAX_TAG_VALUE_LENGTH:
            return text
    return json.dumps(items[-1:])
