"""MLflow's entities from the JSON of a service, and back, without protobuf in between.

Parsing protobuf's JSON is most of the time that MLflow's own client takes to search runs or to read a long history.
The messages are those of MLflow's REST API; numbers that JSON can't write come as the words "NaN" and "Infinity".
"""

from collections.abc import Iterable
from math import isfinite
from typing import Any

import mlflow.entities as mlflow_entities
from mlflow.entities import Metric, Param, RunTag
from mlflow.environment_variables import MLFLOW_TRUNCATE_LONG_VALUES

from mlflow_amlstore.records.validation import (
    MAX_PARAM_VALUE_LENGTH,
    MAX_TAG_VALUE_LENGTH,
    check_integer,
    check_length,
    check_number,
)

_HAS_LOGGED_MODELS = hasattr(mlflow_entities, "LoggedModel")
_RUN_INFO_TAKES_UUID = not _HAS_LOGGED_MODELS  # a second name for the id, which MLflow 2 still wants

Json = dict[str, Any]


def metric_json(metric: Metric) -> Json:
    """A metric as `log-metric` and `log-batch` take it. Raises InvalidValue for what is no number."""
    value: Any = metric.value  # whatever a caller gave
    if type(value) is not float:
        value = check_number(f"metric {metric.key!r}", value)
    step, timestamp = metric.step, metric.timestamp
    if type(step) is not int:
        step = check_integer(f"step of metric {metric.key!r}", step)
    if type(timestamp) is not int:
        timestamp = check_integer(f"timestamp of metric {metric.key!r}", timestamp, minimum=0)
    message: Json = {
        "key": metric.key,
        "value": value if isfinite(value) else _word(value),
        "timestamp": timestamp,
        "step": step,
    }
    if _HAS_LOGGED_MODELS and metric.model_id:
        message["model_id"] = metric.model_id
        if metric.dataset_name:
            message["dataset_name"], message["dataset_digest"] = metric.dataset_name, metric.dataset_digest
    return message


def param_json(param: Param) -> Json:
    """A param; one too long is cut, or where MLflow is told not to cut, refused here: the service would cut it."""
    return {"key": param.key, "value": _cut(f"param {param.key}", param.value, MAX_PARAM_VALUE_LENGTH)}


def tag_json(tag: RunTag) -> Json:
    """A tag; one too long is cut or refused, as a param is."""
    return {"key": tag.key, "value": _cut(f"tag {tag.key}", tag.value, MAX_TAG_VALUE_LENGTH)}


def dataset_input_json(given: mlflow_entities.DatasetInput) -> Json:
    """A dataset that went into a run."""
    dataset = given.dataset
    return {
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "source_type": dataset.source_type,
            "source": dataset.source,
            "schema": dataset.schema,
            "profile": dataset.profile,
        },
        "tags": [{"key": tag.key, "value": tag.value} for tag in given.tags],
    }


def _cut(field: str, value: object, limit: int) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) > limit:
        if not MLFLOW_TRUNCATE_LONG_VALUES.get():
            check_length(field, text, limit)
        return text[:limit]
    return text


def _word(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def metrics(messages: Iterable[Json]) -> list[Metric]:
    """Metrics of a run or a history."""
    # `float` reads the words as well; a whole number may come without its point.
    return [Metric(m["key"], float(m["value"]), m["timestamp"], m.get("step", 0)) for m in messages]


def run_info(message: Json) -> mlflow_entities.RunInfo:
    """A run's facts."""
    facts: Json = {"run_uuid": message["run_id"]} if _RUN_INFO_TAKES_UUID else {}
    return mlflow_entities.RunInfo(
        run_id=message["run_id"],
        run_name=message.get("run_name", ""),
        experiment_id=message["experiment_id"],
        user_id=message.get("user_id", ""),
        status=message["status"],
        start_time=message.get("start_time", 0),
        end_time=message.get("end_time") or None,
        lifecycle_stage=message["lifecycle_stage"],
        artifact_uri=message.get("artifact_uri", ""),
        **facts,
    )


def run(message: Json) -> mlflow_entities.Run:
    """A run with its latest metrics, params, tags, inputs and outputs."""
    data = message.get("data", {})
    run_data = mlflow_entities.RunData(
        metrics=metrics(data.get("metrics", ())),
        params=[Param(item["key"], item.get("value", "")) for item in data.get("params", ())],
        tags=[RunTag(item["key"], item.get("value", "")) for item in data.get("tags", ())],
    )
    inputs, outputs = message.get("inputs", {}), message.get("outputs", {})
    datasets = [_dataset_input(item) for item in inputs.get("dataset_inputs", ())]
    info = run_info(message["info"])
    if not _HAS_LOGGED_MODELS:
        return mlflow_entities.Run(info, run_data, mlflow_entities.RunInputs(dataset_inputs=datasets))
    return mlflow_entities.Run(
        info,
        run_data,
        mlflow_entities.RunInputs(
            dataset_inputs=datasets,
            model_inputs=[
                mlflow_entities.LoggedModelInput(item["model_id"]) for item in inputs.get("model_inputs", ())
            ],
        ),
        mlflow_entities.RunOutputs(
            model_outputs=[
                mlflow_entities.LoggedModelOutput(item["model_id"], item.get("step", 0))
                for item in outputs.get("model_outputs", ())
            ]
        ),
    )


def _dataset_input(message: Json) -> mlflow_entities.DatasetInput:
    dataset = message["dataset"]
    return mlflow_entities.DatasetInput(
        dataset=mlflow_entities.Dataset(
            name=dataset["name"],
            digest=dataset["digest"],
            source_type=dataset.get("source_type", ""),
            source=dataset.get("source", ""),
            schema=dataset.get("schema"),
            profile=dataset.get("profile"),
        ),
        tags=[mlflow_entities.InputTag(item["key"], item.get("value", "")) for item in message.get("tags", ())],
    )
