"""Params, tags and names that a run has no room for: what it takes is in its record, all else in its journal.

Of a value that is too long the record has the beginning and a digest, so that any other value is told from it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlflow_amlstore.client.journal.journal import Entry
from mlflow_amlstore.protocol.limits import AZURE

_DIGEST_LENGTH = 8
RUN_NAME_TAG = "mlflow.runName"
"""MLflow's tag for a run's name, which the run's facts have too."""


@dataclass(frozen=True)
class MoreValues:
    """What a run's journal has of params and tags. A deleted tag is one whose value is None."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)


def folded(entries: Iterable[Entry]) -> MoreValues:
    """What the entries of a journal, in their order, have of params and tags."""
    found = MoreValues()
    for entry in entries:
        if entry["kind"] == "params":
            for name, value in entry["params"].items():
                found.params.setdefault(name, value)
        elif entry["kind"] == "tags":
            found.tags.update(entry["tags"])
    return found


class Values(NamedTuple):
    """A run's name, params and tags."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]


def with_kept(shown: Values, entries: Iterable[Entry]) -> Values:
    """What a run's record shows, with what the entries of its journal add."""
    more = folded(entries)
    params = _with_more(shown.params, more.params, AZURE.param_value_length)
    tags = _with_more(shown.tags, more.tags, AZURE.tag_value_length)
    name = longer(shown.name, more.tags.get(RUN_NAME_TAG), AZURE.run_name_length)
    if name != shown.name:
        tags[RUN_NAME_TAG] = name
    return Values(name, params, tags)


def with_more_values(run: Any, entries: Iterable[Entry]) -> Any:
    """A run's message as MLflow has it, with the params, tags and name that its journal's entries add."""
    info, data = run["info"], run.get("data", {})
    shown = Values(info.get("run_name") or "", _by_key(data.get("params") or ()), _by_key(data.get("tags") or ()))
    name, params, tags = with_kept(shown, entries)
    return {
        **run,
        "info": {**info, "run_name": name},
        "data": {**data, "params": _pairs(params), "tags": _pairs(tags)},
    }


def _with_more(shown: dict[str, str], more: Mapping[str, str | None], limit: int) -> dict[str, str]:
    """What a run shows, with what its journal has of the same kind."""
    added = {name: value for name, value in more.items() if value is not None and name not in shown}
    return {**{name: longer(value, more.get(name), limit) for name, value in shown.items()}, **added}


def longer(shown: str, kept: str | None, limit: int) -> str:
    """A value that a run shows, or the one kept of which it is the beginning; else it was set to something since."""
    return kept if kept is not None and len(shown) == limit and shown == cut(kept, limit) else shown


def cut(value: str, length: int) -> str:
    """The beginning of a value, a sign that it goes on elsewhere, and a digest of the whole.

    A workspace refuses to change a param. By the digest it also refuses a value that only begins alike.
    """
    if len(value) <= length:
        return value
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{value[: length - _DIGEST_LENGTH - 1]}…{digest}"


def _by_key(pairs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]
