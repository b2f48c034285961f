"""Registered environments of any record store."""

import pytest

from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.store import RecordStore


def test_a_definition_has_one_version_and_another_the_next(records: RecordStore) -> None:
    first = records.environments.put("iris", {"python": {"b": 1, "a": 2}})
    assert (first.name, first.version) == ("iris", "1")
    assert first.definition == {"name": "iris", "version": "1", "python": {"b": 1, "a": 2}}
    assert records.environments.put("iris", {"python": {"a": 2, "b": 1}}) == first
    assert records.environments.put("iris", {}).version == "2"
    assert records.environments.put("iris", {"python": None}, "mine").version == "mine"
    assert records.environments.put("iris", {"docker": None}, "2").version == "4"
    assert records.environments.put("iris", first.definition, "9") == first


def test_the_latest_is_what_was_registered_last(records: RecordStore) -> None:
    for number in range(12):
        records.environments.put("iris", {"number": number})
    records.environments.put("diabetes", {})
    assert records.environments.get("iris").version == "12"
    assert records.environments.get("iris", "3").definition["number"] == 2
    assert [(each.name, each.version) for each in records.environments.list()] == [("diabetes", "1"), ("iris", "12")]


def test_what_isnt_there_is_said_with_what_there_is(records: RecordStore) -> None:
    assert records.environments.list() == []
    records.environments.put("iris", {})
    with pytest.raises(NotFound, match="these environments: iris"):
        records.environments.get("diabetes")
    with pytest.raises(NotFound, match="these versions: 1"):
        records.environments.get("iris", "2")


@pytest.mark.parametrize(("name", "version"), [("", None), ("x" * 251, None), ("iris", ""), ("iris", "x" * 251)])
def test_a_name_and_a_version_are_short_texts(records: RecordStore, name: str, version: str | None) -> None:
    with pytest.raises(InvalidValue):
        records.environments.put(name, {}, version)
