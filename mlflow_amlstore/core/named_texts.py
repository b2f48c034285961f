"""Tags and properties as callers give them, made what records take; each raises InvalidValue for what is none."""

from collections.abc import Callable, Iterable, Mapping

from mlflow_amlstore.errors import InvalidValue, NotFound


def texts_of(field: str, given: object) -> dict[str, str]:
    """Names and their values as texts, the empty text for None."""
    if not isinstance(given, Mapping):
        raise InvalidValue(field, given, "must be a dict of names and values")
    return {name: "" if value is None else str(value) for name, value in given.items()}


def _names_of(field: str, given: object) -> list[str]:
    """One name, or several."""
    if isinstance(given, str):
        return [given]
    names = list(given) if isinstance(given, Iterable) else [given]
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) < len(names):
        raise InvalidValue(field, given, "must be a name, or a list of names")
    return texts


def delete_tags(given: object, delete: Callable[[str], None]) -> None:
    """Delete one tag, or several, by name; one that isn't there is passed over."""
    for name in _names_of("tags", given):
        try:
            delete(name)
        except NotFound as error:
            if error.kind != "tag":
                raise


def wanted_texts(field: str, given: object) -> dict[str, str | None]:
    """What to look for: names with the values that they must have, or None for any."""
    if given is None:
        return {}
    if isinstance(given, str):
        return {given: None}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidValue(field, given, "must be a name, or a dict of names and values")
    return {name: None if value is None else str(value) for name, value in given.items()}
