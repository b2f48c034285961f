"""Checks the tags and properties that callers give. Each function raises InvalidValue for what is none."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlflow_amlstore.errors import InvalidValue, NotFound


def texts_of(field: str, given: object) -> dict[str, str]:
    """Names and their values as texts; None is the empty text."""
    if not isinstance(given, Mapping):
        raise InvalidValue(field, given, "must be a dict of names and values")
    return {name: "" if value is None else str(value) for name, value in given.items()}


def delete_tags(given: object, delete: Callable[[str], None]) -> None:
    """Delete one tag, or several, by name; one that isn't there is ignored."""
    names: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not all(isinstance(name, str) for name in names):
        raise InvalidValue("tags", given, "must be a name, or a list of names")
    for name in names:
        try:
            delete(name)
        except NotFound as error:
            if error.kind != "tag":
                raise


def wanted_texts(field: str, given: object) -> dict[str, str | None]:
    """What to look for: names, each with the value that it must have, or None for any value."""
    if given is None:
        return {}
    if isinstance(given, str):
        return {given: None}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidValue(field, given, "must be a name, or a dict of names and values")
    return {name: None if value is None else str(value) for name, value in given.items()}
