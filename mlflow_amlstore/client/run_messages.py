"""MLflow's messages of runs: with what the runs' journals add, and as records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.journal.journal import JOURNAL_TAG, journal_of
from mlflow_amlstore.client.journal.keeping import MARKS
from mlflow_amlstore.client.journal.values import with_more_values
from mlflow_amlstore.client.logged_models.journaled import JournaledModels
from mlflow_amlstore.client.run_calls import tags_of
from mlflow_amlstore.records.status import status_from_mlflow
from mlflow_amlstore.records.types import (
    Dataset,
    DatasetInput,
    MetricPoint,
    ModelDirection,
    RunInfo,
    RunModel,
    RunRecord,
)

_READERS = 8
_PARENT_TAG = "mlflow.parentRunId"
_DELETED_MS = 0  # MLflow's messages don't tell when


class RunMessages:
    """Makes messages of one workspace's runs whole: with the params, tags and models that are in files of the run."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        self._connection, self._journaled_models = connection, JournaledModels(connection)

    def whole(self, message: Any) -> Any:
        """A run's message with all that was logged into it."""
        return self._with_journal(message) if self.may_have_journal(tags_of(message)) else message

    def all_whole(self, messages: Sequence[Any]) -> Sequence[Any]:
        """Messages in their order; the runs' journals are read side by side."""
        if not any(self.may_have_journal(tags_of(message)) for message in messages):
            return messages
        return at_once(self.whole, messages, threads=_READERS)

    def may_have_journal(self, tags: Mapping[str, str]) -> bool:
        """Whether a run's tags tell of a journal, or are so many that making room may have been interrupted."""
        limits = self._connection.limits
        return JOURNAL_TAG in tags or (limits is not None and len(tags) >= limits.tags_per_run - len(MARKS))

    def _with_journal(self, message: Any) -> Any:
        run_id = message["info"]["run_id"]
        entries = journal_of(self._connection, run_id).entries()
        message = with_more_values(message, entries)
        models = self._journaled_models.of_entries(run_id, entries)
        outputs = [{"model_id": model_id, "step": step} for model_id, step in models.outputs]
        inputs = [{"model_id": model_id} for model_id in models.inputs]
        its_inputs, its_outputs = message.get("inputs") or {}, message.get("outputs") or {}
        return {
            **message,
            "inputs": {**its_inputs, "model_inputs": [*its_inputs.get("model_inputs", ()), *inputs]},
            "outputs": {**its_outputs, "model_outputs": [*its_outputs.get("model_outputs", ()), *outputs]},
        }


def run_record(message: Any) -> RunRecord:
    """A whole message as a record. It tells neither properties nor why a run failed."""
    info, data, tags = message["info"], message.get("data") or {}, tags_of(message)
    start_ms = info.get("start_time")
    return RunRecord(
        RunInfo(
            run_id=info["run_id"],
            experiment_id=str(info["experiment_id"]),
            name=info.get("run_name") or "",
            status=status_from_mlflow(info["status"]),
            user_id=info.get("user_id") or "",
            created_ms=start_ms or 0,
            start_ms=start_ms,
            end_ms=info.get("end_time") or None,
            deleted_ms=_DELETED_MS if info.get("lifecycle_stage") == "deleted" else None,
            parent_run_id=tags.get(_PARENT_TAG),
            artifact_location=None,
        ),
        metrics=points(data.get("metrics") or ()),
        params={param["key"]: param.get("value", "") for param in data.get("params") or ()},
        tags=tags,
        properties={},
        datasets=[_dataset(given) for given in (message.get("inputs") or {}).get("dataset_inputs") or ()],
        models=list(_models(message)),
    )


def points(messages: Sequence[Any]) -> list[MetricPoint]:
    """Metric points. Numbers that JSON can't write come as the words "NaN" and "Infinity", which `float` reads."""
    return [MetricPoint(m["key"], float(m["value"]), m.get("step", 0), m["timestamp"]) for m in messages]


def _dataset(given: Any) -> DatasetInput:
    dataset = given["dataset"]
    return DatasetInput(
        Dataset(
            name=dataset["name"],
            digest=dataset["digest"],
            source_type=dataset.get("source_type", ""),
            source=dataset.get("source", ""),
            schema=dataset.get("schema"),
            profile=dataset.get("profile"),
        ),
        {tag["key"]: tag.get("value", "") for tag in given.get("tags") or ()},
    )


def _models(message: Any) -> Iterator[RunModel]:
    for model in (message.get("inputs") or {}).get("model_inputs") or ():
        yield RunModel(ModelDirection.INPUT, model["model_id"])
    for model in (message.get("outputs") or {}).get("model_outputs") or ():
        yield RunModel(ModelDirection.OUTPUT, model["model_id"], int(model.get("step") or 0))
