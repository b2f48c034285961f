"""Emptying the trash of any record store."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.locations import logged_model_container, run_container, upload_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import TrashContents, View

if TYPE_CHECKING:
    from tests.records.contract.conftest import Clock

NOTHING = TrashContents([], [], [])
DAY_MS = 24 * 3600 * 1000


def write(records: RecordStore, container: str, content: bytes) -> None:
    records.files.write(container, "model.pkl", io.BytesIO(content))


def read(records: RecordStore, container: str) -> bytes:
    with records.files.open(container, "model.pkl") as source:
        return source.read()


def test_the_trash_of_a_new_workspace_is_empty(records: RecordStore) -> None:
    assert records.trash.list_deleted() == NOTHING
    assert not records.trash.list_deleted()
    assert records.trash.empty(NOTHING) == 0


def test_what_is_deleted_is_listed_with_the_runs_of_a_deleted_experiment(records: RecordStore, run_id: str) -> None:
    experiment_id = records.experiments.create("iris")
    records.runs.create(experiment_id, run_id="inside")
    model_id = records.logged_models.create("0", name="model").model_id
    records.logged_models.delete(model_id)
    records.runs.delete(run_id)
    records.experiments.delete(experiment_id)
    assert records.trash.list_deleted() == TrashContents([experiment_id], ["inside", run_id], [model_id])


def test_only_what_was_deleted_long_enough_ago_is_listed(records: RecordStore, run_id: str, clock: "Clock") -> None:
    records.runs.create("0", run_id="later")
    records.runs.delete(run_id)
    clock.advance(1000)
    records.runs.delete("later")
    assert records.trash.list_deleted(older_than_ms=1000).run_ids == [run_id]
    assert records.trash.list_deleted(older_than_ms=1001) == NOTHING


def test_emptying_removes_runs_with_all_that_was_logged_and_gives_bytes_back(records: RecordStore, run_id: str) -> None:
    records.runs.log(run_id, points=[("m", 1.0, 0, 0)], params=[("p", "1")], tags=[("t", "1")])
    write(records, run_container("0", run_id), b"x" * 1000)
    records.runs.delete(run_id)

    assert records.trash.empty(records.trash.list_deleted()) == 1000

    with pytest.raises(NotFound):
        records.runs.get(run_id)
    assert records.metrics.history(run_id, "m").items == []
    assert records.files.list_all(run_container("0", run_id)) == []
    assert records.trash.list_deleted() == NOTHING


def test_a_run_id_that_was_emptied_can_be_given_again_and_has_no_past(records: RecordStore, run_id: str) -> None:
    records.runs.log(run_id, points=[("m", 1.0, 0, 0)], params=[("p", "1")])
    records.runs.delete(run_id)
    records.trash.empty(records.trash.list_deleted())

    fresh = records.runs.create("0", run_id=run_id)
    assert records.runs.get(run_id) == fresh
    assert records.metrics.history(run_id, "m").items == []


def test_a_file_shared_with_a_living_run_survives(records: RecordStore, run_id: str) -> None:
    records.runs.create("0", run_id="living")
    for name in (run_id, "living"):
        write(records, run_container("0", name), b"shared")
    records.runs.delete(run_id)

    assert records.trash.empty(records.trash.list_deleted()) == 0
    assert read(records, run_container("0", "living")) == b"shared"


def test_emptying_an_experiment_removes_its_runs_models_and_files(records: RecordStore) -> None:
    experiment_id = records.experiments.create("iris")
    records.runs.create(experiment_id, run_id="inside")
    model_id = records.logged_models.create(experiment_id, name="model").model_id
    write(records, run_container(experiment_id, "inside"), b"run's")
    write(records, logged_model_container(experiment_id, model_id), b"the model's")
    records.experiments.delete(experiment_id)

    assert records.trash.empty(records.trash.list_deleted()) == len(b"run's") + len(b"the model's")

    for call in (
        lambda: records.experiments.get(experiment_id),
        lambda: records.runs.get("inside"),
        lambda: records.logged_models.get(model_id, allow_deleted=True),
    ):
        with pytest.raises(NotFound):
            call()
    assert records.experiments.create("iris") != experiment_id


def test_emptying_a_deleted_logged_model_leaves_its_run(records: RecordStore, run_id: str) -> None:
    model_id = records.logged_models.create("0", name="model", source_run_id=run_id).model_id
    write(records, logged_model_container("0", model_id), b"the model's")
    records.logged_models.delete(model_id)

    assert records.trash.empty(records.trash.list_deleted()) == len(b"the model's")
    with pytest.raises(NotFound):
        records.logged_models.get(model_id, allow_deleted=True)
    assert records.runs.get(run_id).info.deleted_ms is None


def test_what_was_restored_since_it_was_listed_is_left_alone(records: RecordStore, run_id: str) -> None:
    experiment_id = records.experiments.create("iris")
    records.runs.create(experiment_id, run_id="inside")
    write(records, run_container("0", run_id), b"mine")
    records.runs.delete(run_id)
    records.experiments.delete(experiment_id)
    contents = records.trash.list_deleted()
    records.runs.restore(run_id)
    records.experiments.restore(experiment_id)

    assert records.trash.empty(contents) == 0
    assert read(records, run_container("0", run_id)) == b"mine"
    assert records.runs.get("inside").info.deleted_ms is None


def test_a_deleted_experiment_with_a_restored_run_is_kept_for_it(records: RecordStore) -> None:
    experiment_id = records.experiments.create("iris")
    for name in ("kept", "gone"):
        records.runs.create(experiment_id, run_id=name)
    records.experiments.delete(experiment_id)
    before = records.trash.list_deleted()
    records.runs.restore("kept")

    assert records.trash.list_deleted() == TrashContents([], ["gone"], [])
    records.trash.empty(before)
    assert records.runs.get("kept").info.deleted_ms is None
    assert [run.info.run_id for run in records.runs.search([experiment_id], view=View.ALL).items] == ["kept"]


def test_emptying_twice_or_what_is_unknown_does_nothing(records: RecordStore, run_id: str) -> None:
    records.runs.delete(run_id)
    contents = records.trash.list_deleted()
    records.trash.empty(contents)
    assert records.trash.empty(contents) == 0
    assert records.trash.empty(TrashContents(["99"], ["gone"], ["m-gone"])) == 0


def test_an_upload_that_became_no_model_is_removed_after_a_day(records: RecordStore, clock: "Clock") -> None:
    abandoned, registered, under_way = (upload_container(name) for name in ("abandoned", "registered", "under-way"))
    write(records, abandoned, b"x" * 100)
    write(records, registered, b"y" * 10)
    records.models.create("model")
    records.models.create_version("model", f"workspace:/{registered}/folder")
    clock.advance(DAY_MS)
    write(records, under_way, b"z")

    assert records.trash.empty(NOTHING) == 0  # not a moment too early
    clock.advance(1)
    assert records.trash.empty(NOTHING) == 100

    assert records.files.list_all(abandoned) == []
    assert (read(records, registered), read(records, under_way)) == (b"y" * 10, b"z")


def test_a_snapshot_that_no_run_has_is_removed_after_a_day(
    records: RecordStore, clock: "Clock", tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("source")
    kept, abandoned = (records.snapshots.store([("train.py", tmp_path / "train.py")]) for _ in range(2))
    run_id = records.runs.create("0", properties={"ContentSnapshotId": kept}).info.run_id
    clock.advance(DAY_MS + 1)

    assert records.trash.empty(NOTHING) == 0  # its content is the other's, too
    records.snapshots.write_zip(kept, tmp_path / "kept.zip")
    with pytest.raises(NotFound, match="Snapshot"):
        records.snapshots.write_zip(abandoned, tmp_path / "abandoned.zip")

    records.runs.delete(run_id)
    assert records.trash.empty(records.trash.list_deleted()) == len("source")


def test_an_uploads_files_go_with_the_last_version_that_is_of_them(records: RecordStore, clock: "Clock") -> None:
    upload = upload_container("once")
    write(records, upload, b"x")
    records.models.create("model")
    for _ in range(2):
        records.models.create_version("model", f"workspace:/{upload}")
    clock.advance(DAY_MS + 1)
    for version, freed in ((1, 0), (2, 1)):
        records.models.delete_version("model", version)
        assert records.trash.empty(NOTHING) == freed
