"""Registered environments of any record store, and of one behind a service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_service import ForkedService

from mlflow_amlstore.client.connection import connection_of
from mlflow_amlstore.client.run_history.remote_records import records_of
from mlflow_amlstore.errors import InvalidValue, NotFound
from mlflow_amlstore.records.common_store import CommonStore


@pytest.fixture
def service_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommonStore]:
    with ForkedService(tmp_path) as service:
        monkeypatch.setenv("AMLSTORE_KEY", service.key)
        records = records_of(connection_of(service.tracking_uri))
        yield records
        records.close()


@pytest.fixture(params=["sqlite", "postgresql", "service"])
def records(request: pytest.FixtureRequest) -> CommonStore:
    store: CommonStore = request.getfixturevalue(f"{request.param}_records")
    return store


def test_a_definition_has_one_version_and_another_the_next(records: CommonStore) -> None:
    first = records.environments.put("iris", {"python": {"b": 1, "a": 2}})
    assert (first.name, first.version) == ("iris", "1")
    assert first.definition == {"name": "iris", "version": "1", "python": {"b": 1, "a": 2}}
    assert records.environments.put("iris", {"python": {"a": 2, "b": 1}}) == first
    assert records.environments.put("iris", {}).version == "2"
    assert records.environments.put("iris", {"python": None}, "mine").version == "mine"
    assert records.environments.put("iris", {"docker": None}, "2").version == "4"
    assert records.environments.put("iris", first.definition, "9") == first


def test_the_latest_is_what_was_registered_last(records: CommonStore) -> None:
    for number in range(12):
        records.environments.put("iris", {"environmentVariables": {"NUMBER": str(number)}})
    records.environments.put("diabetes", {})
    assert records.environments.get("iris").version == "12"
    assert records.environments.get("iris", "3").definition["environmentVariables"] == {"NUMBER": "2"}
    assert [(each.name, each.version) for each in records.environments.list()] == [("diabetes", "1"), ("iris", "12")]


def test_what_isnt_there_is_said_with_what_there_is(records: CommonStore) -> None:
    assert records.environments.list() == []
    records.environments.put("iris", {})
    with pytest.raises(NotFound, match="these environments: iris"):
        records.environments.get("diabetes")
    with pytest.raises(NotFound, match="these versions: 1"):
        records.environments.get("iris", "2")


def test_all_fields_of_a_definition_are_kept(records: CommonStore) -> None:
    fields = {
        "python": {"userManagedDependencies": True, "condaDependencies": {"dependencies": ["é", {"pip": ["numpy"]}]}},
        "environmentVariables": {"SEED": "1"},
        "docker": {"baseImage": None},
        "spark": {"packages": []},
        "inferencingStackVersion": "latest",
    }
    records.environments.put("a name: é #?%2F", fields)
    assert records.environments.get("a name: é #?%2F", "1").definition == {
        **fields,
        "name": "a name: é #?%2F",
        "version": "1",
    }


@pytest.mark.parametrize("text", ["", "x" * 251, "a/b", "..", ".", "a\nb"])
def test_a_name_and_a_version_are_short_texts_that_are_no_paths(records: CommonStore, text: str) -> None:
    for name, version in ((text, None), ("iris", text)):
        with pytest.raises(InvalidValue, match=r"environment (name|version)"):
            records.environments.put(name, {}, version)
        with pytest.raises(InvalidValue, match=r"environment (name|version)"):
            records.environments.get(name, version)
