"""The filters that Azure ML's SDK makes for listing runs: `(Tags/stage eq "x") and (Status eq Completed)`.

They are a small part of OData, and no other is read. Nothing in them is escaped, so a name or value is whatever stands
between the words of its term.
"""

import re
from collections.abc import Callable
from typing import Any

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import RunFilter

_NULL = "null"
_AND = re.compile(r"\)\s+and\s+\(")
_EXISTS = re.compile(r"(?P<kind>Tags|Properties)/(?P<name>.+) ne null or (?P=kind)/(?P=name) eq null", re.DOTALL)
_EQUALS = re.compile(r'(?P<kind>Tags|Properties)/(?P<name>.+?) eq (?:"(?P<value>.*)"|null)', re.DOTALL)
_TYPE = re.compile(r"RunType eq (?P<type>.+) or Properties/azureml\.runsource eq (?P=type)", re.DOTALL)
_PLAIN = re.compile(r"(?P<field>ParentRunId|RootRunId|Status|RunType) eq (?P<value>\S+)")


def read_run_filter(text: str | None, of: str | None = None) -> RunFilter:
    """Return what a filter says; `of` is the run whose children are meant. Raises InvalidValue with the term."""
    values: dict[str, Any] = {"of": of, "include_children": True, "tags": {}, "properties": {}}
    for term in _terms((text or "").strip()):
        _read_term(text or "", term, values)
    return RunFilter(**values)


def _terms(text: str) -> list[str]:
    """The terms that `and` joins, without their parentheses; all of them may be in one more pair."""
    if not text:
        return []
    if text.startswith("((") and text.endswith("))"):
        text = text[1:-1]
    return _AND.split(text.removeprefix("(").removesuffix(")"))


def _read_term(text: str, term: str, values: dict[str, Any]) -> None:
    if found := _EXISTS.fullmatch(term):
        values[found["kind"].lower()][found["name"]] = None
    elif found := _EQUALS.fullmatch(term):
        values[found["kind"].lower()][found["name"]] = found["value"]
    elif found := _TYPE.fullmatch(term):
        values["run_type"] = found["type"].strip('"')
    elif found := _PLAIN.fullmatch(term):
        _FIELDS[found["field"]](found["value"].strip('"'), values)
    else:
        raise InvalidValue("filter", text, f"this service doesn't know the term {term!r:.100}")


def _parent(value: str, values: dict[str, Any]) -> None:
    if value == _NULL:
        values["include_children"] = False
    else:
        values["of"] = value


def _root(value: str, values: dict[str, Any]) -> None:
    values["of"], values["recursive"] = value, True


def _status(value: str, values: dict[str, Any]) -> None:
    values["status"] = status_from_azure(value)


def _type(value: str, values: dict[str, Any]) -> None:
    values["run_type"] = value


_FIELDS: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "ParentRunId": _parent,
    "RootRunId": _root,
    "Status": _status,
    "RunType": _type,
}
