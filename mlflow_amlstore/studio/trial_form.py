"""The form that tries an endpoint: a field for each value of the first row of its example, and the body as JSON."""

import json
from typing import Any

import msgspec

from mlflow_amlstore.studio.endpoint_requests import Described

_MOST_FIELDS = 40
_SPLIT = {"columns", "data"}


class Field(msgspec.Struct, frozen=True):
    """A value of the body: where it stands there, and what it is in the example."""

    name: str
    path: list[str | int]
    kind: str  # number, text or choice (true or false)
    value: str


class TrialForm(msgspec.Struct, frozen=True):
    """What an endpoint takes, with an example filled in. There are no fields where the example isn't one of rows."""

    body: str
    fields: list[Field]
    methods: list[str]


def form_of(found: Described) -> TrialForm:
    """The form of what an endpoint says that it takes."""
    return TrialForm(json.dumps(found.example, ensure_ascii=False), _fields(found.example), found.methods)


def _fields(example: dict[str, Any]) -> list[Field]:
    for name, given in example.items():
        if isinstance(given, dict) and given.keys() >= _SPLIT:
            return _of_row(given["data"], [name, "data", 0], given["columns"])
        if isinstance(given, list):
            return _of_row(given, [name, 0], None)
    return []


def _of_row(rows: Any, path: list[str | int], columns: Any) -> list[Field]:
    if not isinstance(rows, list) or not rows:
        return []
    row = rows[0]
    if isinstance(row, dict):
        places = list(row.items())
    elif isinstance(row, list):
        places = list(enumerate(row))
    else:
        return []
    if len(places) > _MOST_FIELDS or any(isinstance(value, (dict, list)) or value is None for _, value in places):
        return []
    names = columns if isinstance(columns, list) and len(columns) == len(places) else None
    return [
        Field(str(names[count]) if names else _name(place), [*path, place], _kind(value), _text(value))
        for count, (place, value) in enumerate(places)
    ]


def _name(place: str | int) -> str:
    return place if isinstance(place, str) else f"x{place + 1}"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "choice"
    return "number" if isinstance(value, (int, float)) else "text"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
