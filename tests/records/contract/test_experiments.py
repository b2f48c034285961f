"""Experiments of any record store."""

from typing import TYPE_CHECKING

import pytest

from mlflow_amlstore.errors import AlreadyExists, Deleted, InvalidState, InvalidValue, NotFound, PathUnsafe
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import View

if TYPE_CHECKING:
    from tests.records.contract.conftest import Clock


def names(records: RecordStore, view: View = View.ACTIVE) -> set[str]:
    return {experiment.name for experiment in records.experiments.search(view=view).items}


def test_a_new_workspace_has_the_experiment_default_with_id_0(records: RecordStore) -> None:
    assert records.experiments.get("0").name == "Default"
    assert names(records) == {"Default"}


def test_an_experiment_has_what_it_was_created_with(records: RecordStore, clock: "Clock") -> None:
    experiment_id = records.experiments.create("iris", artifact_location="s3://bucket/iris", tags={"team": "botany"})

    found = records.experiments.get(experiment_id)

    assert (found.experiment_id, found.name, found.artifact_location) == (experiment_id, "iris", "s3://bucket/iris")
    assert found.tags == {"team": "botany"}
    assert (found.created_ms, found.updated_ms, found.deleted_ms) == (clock(), clock(), None)
    assert records.experiments.find_by_name("iris") == found


def test_without_a_location_files_are_kept_in_the_workspace(records: RecordStore) -> None:
    assert records.experiments.get(records.experiments.create("a")).artifact_location is None
    assert records.experiments.get(records.experiments.create("b", artifact_location="")).artifact_location is None


@pytest.mark.parametrize("location", ["/etc", "file:///etc", "../elsewhere", "http://host/x", "s3://bucket/../x"])
def test_a_location_that_names_this_machines_files_is_refused(records: RecordStore, location: str) -> None:
    with pytest.raises(PathUnsafe, match="artifact location"):
        records.experiments.create("iris", artifact_location=location)
    assert names(records) == {"Default"}


def test_a_name_is_given_once(records: RecordStore) -> None:
    records.experiments.create("iris")
    with pytest.raises(AlreadyExists, match=r"Experiment 'iris' already exists$"):
        records.experiments.create("iris")


def test_a_deleted_experiment_still_holds_its_name_and_the_error_says_so(records: RecordStore) -> None:
    records.experiments.delete(records.experiments.create("iris"))
    with pytest.raises(AlreadyExists, match=r"'iris' already exists\. It is deleted: restore it, remove it for good"):
        records.experiments.create("iris")


@pytest.mark.parametrize("name", ["", None, 7, "x" * 501])
def test_a_bad_name_is_refused(records: RecordStore, name: str) -> None:
    with pytest.raises(InvalidValue, match="experiment name"):
        records.experiments.create(name)
    with pytest.raises(InvalidValue, match="experiment name"):
        records.experiments.rename("0", name)


@pytest.mark.parametrize("name", ["x" * 500, "Żółć 🌼", "a/b:c", "'quoted\"", " "])
def test_an_odd_name_is_kept_as_it_is(records: RecordStore, name: str) -> None:
    assert records.experiments.get(records.experiments.create(name)).name == name


@pytest.mark.parametrize("experiment_id", ["99", "-1"])
def test_an_unknown_id_is_not_found(records: RecordStore, experiment_id: str) -> None:
    with pytest.raises(NotFound, match=f"Experiment '{experiment_id}' not found"):
        records.experiments.get(experiment_id)
    assert records.experiments.find_by_name("nothing") is None


@pytest.mark.parametrize("experiment_id", ["x", "", None, "1.5", str(2**64)])
def test_an_id_that_is_no_number_is_refused(records: RecordStore, experiment_id: str) -> None:
    with pytest.raises(InvalidValue, match="experiment_id"):
        records.experiments.get(experiment_id)


def test_a_renamed_experiment_is_found_by_its_new_name_only(records: RecordStore, clock: "Clock") -> None:
    experiment_id = records.experiments.create("iris")
    created_ms, updated_ms = clock(), clock.advance(5)

    records.experiments.rename(experiment_id, "rose")

    assert records.experiments.find_by_name("iris") is None
    renamed = records.experiments.get(experiment_id)
    assert (renamed.name, renamed.created_ms, renamed.updated_ms) == ("rose", created_ms, updated_ms)


def test_a_taken_name_is_not_given_again_by_renaming(records: RecordStore) -> None:
    experiment_id = records.experiments.create("iris")
    with pytest.raises(AlreadyExists, match="'Default' already exists"):
        records.experiments.rename(experiment_id, "Default")
    assert records.experiments.get(experiment_id).name == "iris"


def test_deleting_an_experiment_deletes_its_runs_and_restoring_brings_both_back(
    records: RecordStore, clock: "Clock"
) -> None:
    experiment_id = records.experiments.create("iris")
    run_id = records.runs.create(experiment_id).info.run_id

    records.experiments.delete(experiment_id)
    assert records.experiments.get(experiment_id).deleted_ms == clock()
    assert records.runs.get(run_id).info.deleted_ms == clock()
    assert (names(records), names(records, View.DELETED)) == ({"Default"}, {"iris"})
    assert names(records, View.ALL) == {"Default", "iris"}

    records.experiments.restore(experiment_id)
    assert records.experiments.get(experiment_id).deleted_ms is None
    assert records.runs.get(run_id).info.deleted_ms is None


def test_deleting_or_restoring_twice_is_refused(records: RecordStore) -> None:
    experiment_id = records.experiments.create("iris")
    with pytest.raises(NotFound, match=r"Deleted experiment .* not found\. It is not deleted"):
        records.experiments.restore(experiment_id)
    records.experiments.delete(experiment_id)
    with pytest.raises(NotFound, match=r"Active experiment .* not found\. It is deleted already"):
        records.experiments.delete(experiment_id)


def test_a_deleted_experiment_takes_no_change(records: RecordStore) -> None:
    experiment_id = records.experiments.create("iris", tags={"a": "1"})
    records.experiments.delete(experiment_id)

    with pytest.raises(InvalidState, match="is deleted and can't be renamed; restore it first"):
        records.experiments.rename(experiment_id, "rose")
    with pytest.raises(Deleted, match="must be in the 'active' state"):
        records.experiments.set_tag(experiment_id, "a", "2")
    with pytest.raises(Deleted, match="must be in the 'active' state"):
        records.experiments.delete_tag(experiment_id, "a")
    with pytest.raises(Deleted, match="must be in the 'active' state"):
        records.runs.create(experiment_id)
    assert records.experiments.get(experiment_id).tags == {"a": "1"}


def test_a_tag_is_set_over_and_deleted(records: RecordStore) -> None:
    records.experiments.set_tag("0", "team", "botany")
    records.experiments.set_tag("0", "team", "Żółć")
    assert records.experiments.get("0").tags == {"team": "Żółć"}

    records.experiments.delete_tag("0", "team")
    assert records.experiments.get("0").tags == {}
    with pytest.raises(NotFound, match=r"Tag 'team' not found\. Experiment 0 has no such tag"):
        records.experiments.delete_tag("0", "team")


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a", None), ("a", "x" * 20_001), ("../a", "x"), ("a?", "x")])
def test_a_bad_tag_is_refused_and_creates_nothing(records: RecordStore, name: str, value: str) -> None:
    with pytest.raises(InvalidValue, match="tag"):
        records.experiments.set_tag("0", name, value)
    with pytest.raises(InvalidValue, match="tag"):
        records.experiments.create("iris", tags={"good": "1", name: value})
    assert names(records) == {"Default"}
    assert records.experiments.get("0").tags == {}
