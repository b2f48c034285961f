"""Inputs and outputs of runs of any record store: datasets and logged models."""

import pytest

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import Dataset, DatasetInput, DatasetSummary, ModelDirection, RunModel

IRIS = Dataset("iris", "d1", "http", '{"url": "https://x"}', schema='{"columns": 4}', profile='{"rows": 150}')


def used(dataset: Dataset, context: str) -> DatasetInput:
    return DatasetInput(dataset, {"mlflow.data.context": context})


def test_a_dataset_is_read_back_with_the_tags_of_its_use(records: RecordStore, run_id: str) -> None:
    records.runs.log_inputs(
        run_id, datasets=[used(IRIS, "training"), DatasetInput(Dataset("rose", "d2", "local", "x"))]
    )
    assert records.runs.get(run_id).datasets == [
        used(IRIS, "training"),
        DatasetInput(Dataset("rose", "d2", "local", "x"), {}),
    ]


def test_a_dataset_that_a_run_has_already_stays_as_it_is(records: RecordStore, run_id: str) -> None:
    records.runs.log_inputs(run_id, datasets=[used(IRIS, "training")])
    records.runs.log_inputs(run_id, datasets=[used(IRIS, "test"), used(Dataset("iris", "d2", "http", "x"), "test")])
    assert [(given.dataset.digest, given.tags) for given in records.runs.get(run_id).datasets] == [
        ("d1", {"mlflow.data.context": "training"}),
        ("d2", {"mlflow.data.context": "test"}),
    ]


def test_each_run_has_its_own_use_of_a_shared_dataset(records: RecordStore) -> None:
    for name, context in (("a", "training"), ("b", "test")):
        records.runs.create("0", run_id=name)
        records.runs.log_inputs(name, datasets=[used(IRIS, context)])
    assert records.runs.get("a").datasets == [used(IRIS, "training")]
    assert records.runs.get("b").datasets == [used(IRIS, "test")]


def test_the_datasets_of_experiments_are_listed_by_context(records: RecordStore, run_id: str) -> None:
    other = records.experiments.create("other")
    records.runs.create(other, run_id="elsewhere")
    records.runs.create("0", run_id="second")
    records.runs.log_inputs(run_id, datasets=[used(IRIS, "training")])
    records.runs.log_inputs("second", datasets=[used(IRIS, "test"), DatasetInput(Dataset("rose", "d2", "local", "x"))])
    records.runs.log_inputs("elsewhere", datasets=[used(IRIS, "training")])

    assert set(records.runs.list_datasets(["0"])) == {
        DatasetSummary("0", "iris", "d1", "training"),
        DatasetSummary("0", "iris", "d1", "test"),
        DatasetSummary("0", "rose", "d2", None),
    }
    assert records.runs.list_datasets([other]) == [DatasetSummary(other, "iris", "d1", "training")]
    assert records.runs.list_datasets([]) == []


def test_models_go_in_and_come_out(records: RecordStore, run_id: str) -> None:
    models = [RunModel(ModelDirection.INPUT, "m-1"), RunModel(ModelDirection.OUTPUT, "m-2", step=7)]
    records.runs.log_inputs(run_id, models=models)
    records.runs.log_inputs(run_id, models=models)
    assert records.runs.get(run_id).models == models


@pytest.mark.parametrize(
    ("dataset", "field"),
    [
        (Dataset("x" * 501, "d", "s", "s"), "dataset name"),
        (Dataset("x", "d" * 37, "s", "s"), "dataset digest"),
        (Dataset(None, "d", "s", "s"), "dataset name"),
        (Dataset("x", "d", None, "s"), "dataset source_type"),
        (Dataset("x", "d", "s", "s" * 65_536), "dataset source"),
        (Dataset("x", "d", "s", "s", schema="x" * 1_048_576), "dataset schema"),
    ],
)
def test_a_bad_dataset_is_refused_with_all_that_came_with_it(
    records: RecordStore, run_id: str, dataset: Dataset, field: str
) -> None:
    with pytest.raises(InvalidValue, match=f"for {field}: "):
        records.runs.log_inputs(run_id, datasets=[used(IRIS, "training"), DatasetInput(dataset)])
    assert records.runs.get(run_id).datasets == []


@pytest.mark.parametrize("tags", [{"x" * 256: "v"}, {"n": "v" * 501}])
def test_a_tag_too_long_is_refused(records: RecordStore, run_id: str, tags: dict[str, str]) -> None:
    with pytest.raises(InvalidValue, match="dataset tag"):
        records.runs.log_inputs(run_id, datasets=[DatasetInput(IRIS, tags)])
    assert records.runs.get(run_id).datasets == []
