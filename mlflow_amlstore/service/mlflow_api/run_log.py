"""What MLflow logs into a run: metrics, params, tags, inputs and outputs."""

import json
import uuid
from collections.abc import Sequence

import msgspec

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.types import (
    Dataset,
    DatasetInput,
    LoggedModelPoint,
    ModelDirection,
    PointTuple,
    RunModel,
)
from mlflow_amlstore.records.validation import MAX_PARAM_VALUE_LENGTH, MAX_TAG_VALUE_LENGTH, check_run_id
from mlflow_amlstore.service.mlflow_api.fields import Given, HasRunId, KeyValue, OfRun, by_key, cut, json_list_as_tag
from mlflow_amlstore.service.mlflow_api.runs import InputDataset, ModelInput, ModelOutput
from mlflow_amlstore.service.routing import MAX_LARGE_JSON_BYTES, Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)

_LOGGED_MODELS_TAG = "mlflow.log-model.history"
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


class LoggedMetric(msgspec.Struct, frozen=True, gc=False):
    """A point of a run's metric, which may be about a logged model and a dataset too."""

    key: Given
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogMetric(HasRunId, LoggedMetric, frozen=True, kw_only=True):
    """One such point, and its run."""

    run_id: str | None = None
    run_uuid: str | None = None


class LogKeyValue(OfRun, kw_only=True):
    """A param or tag, and its run."""

    key: Given
    value: str = ""


class DeleteTag(OfRun, kw_only=True):
    """A tag of a run, by its name."""

    key: Given


class LogBatch(OfRun):
    """Points, params and tags of a run."""

    metrics: list[LoggedMetric] | None = None
    params: list[KeyValue] | None = None
    tags: list[KeyValue] | None = None


class BatchTracking(msgspec.Struct, frozen=True):
    """By what a client asks for a batch."""

    batch_tracking_id: str


class RunDataStatusQuery(OfRun):
    """A batch of a run."""

    batch_tracking_id: str | None = None


class RunDataStatus(msgspec.Struct, frozen=True):
    """Whether a batch is written."""

    is_complete: bool


class LogInputs(OfRun):
    """Datasets and logged models that went into a run."""

    datasets: list[InputDataset] | None = None
    models: list[ModelInput] | None = None


class LogOutputs(OfRun, kw_only=True):
    """Logged models that came out of a run."""

    models: list[ModelOutput]


class LogModel(OfRun, kw_only=True):
    """`model_json` is the JSON text of an `MLmodel`."""

    model_json: Given


@routes.post("/api/2.0/mlflow/runs/log-metric", Role.CONTRIBUTOR, Right.TRACK)
def log_metric(call: Call, body: LogMetric) -> None:
    """Append a point to a metric."""
    call.records.runs.log(body.run, points=_points([body]), model_points=_model_points(body.run, [body]))


@routes.post("/api/2.0/mlflow/runs/log-parameter", Role.CONTRIBUTOR, Right.TRACK)
def log_param(call: Call, body: LogKeyValue) -> None:
    """Add a param."""
    call.records.runs.log(body.run, params=[(body.key, body.value[:MAX_PARAM_VALUE_LENGTH])])


@routes.post("/api/2.0/mlflow/runs/set-tag", Role.CONTRIBUTOR, Right.TRACK)
def set_tag(call: Call, body: LogKeyValue) -> None:
    """Set a run's tag."""
    call.records.runs.log(body.run, tags=[(body.key, body.value[:MAX_TAG_VALUE_LENGTH])])


@routes.post("/api/2.0/mlflow/runs/delete-tag", Role.CONTRIBUTOR, Right.TRACK)
def delete_tag(call: Call, body: DeleteTag) -> None:
    """Delete a run's tag."""
    call.records.runs.delete_tag(body.run, body.key)


@routes.post("/api/2.0/mlflow/runs/log-batch", Role.CONTRIBUTOR, Right.TRACK)
def log_batch(call: Call, body: LogBatch) -> None:
    """Append points, add params and set tags: all of them, or none."""
    run_id = check_run_id(body.run)
    metrics = body.metrics or ()
    call.records.runs.log(
        run_id,
        points=_points(metrics),
        params=cut(body.params, MAX_PARAM_VALUE_LENGTH),
        tags=cut(body.tags, MAX_TAG_VALUE_LENGTH),
        model_points=_model_points(run_id, metrics),
    )


@routes.post("/api/2.0/preview/mlflow/runs/log-batch-async", Role.CONTRIBUTOR, Right.TRACK)
def log_batch_async(call: Call, body: LogBatch) -> BatchTracking:
    """Do as log-batch does, for clients of Azure ML, whose service may write a batch later: here it's written."""
    log_batch(call, body)
    return BatchTracking(uuid.uuid4().hex)


@routes.get("/api/2.0/preview/mlflow/runs/get-run-data-status", Role.READER, Right.TRACK)
def get_run_data_status(call: Call, body: RunDataStatusQuery) -> RunDataStatus:
    """Tell whether a batch of log-batch-async is written, as all are that were answered."""
    call.records.runs.get(check_run_id(body.run))
    return RunDataStatus(is_complete=True)


@routes.post("/api/2.0/mlflow/runs/log-inputs", Role.CONTRIBUTOR, Right.TRACK, most_bytes=MAX_LARGE_JSON_BYTES)
def log_inputs(call: Call, body: LogInputs) -> None:
    """Record the datasets and logged models that went into a run."""
    call.records.runs.log_inputs(
        check_run_id(body.run),
        datasets=[_dataset_input(given) for given in body.datasets or ()],
        models=[RunModel(ModelDirection.INPUT, model.model_id) for model in body.models or ()],
    )


@routes.post("/api/2.0/mlflow/runs/outputs", Role.CONTRIBUTOR, Right.TRACK)
def log_outputs(call: Call, body: LogOutputs) -> None:
    """Record the logged models that came out of a run."""
    models = [RunModel(ModelDirection.OUTPUT, model.model_id, model.step) for model in body.models]
    call.records.runs.log_inputs(body.run, models=models)


@routes.post("/api/2.0/mlflow/runs/log-model", Role.CONTRIBUTOR, Right.TRACK)
def log_model(call: Call, body: LogModel) -> None:
    """Add a model to the tag that lists a run's models, as MLflow 2 logs them."""
    known = call.records.runs.get(body.run).tags.get(_LOGGED_MODELS_TAG, "[]")
    text = json_list_as_tag([*json.loads(known), _model_summary(body.model_json)])
    call.records.runs.log(body.run, tags=[(_LOGGED_MODELS_TAG, text)])


def _points(metrics: Sequence[LoggedMetric]) -> list[PointTuple]:
    return [(metric.key, metric.value, metric.step, metric.timestamp) for metric in metrics]


def _model_points(run_id: str, metrics: Sequence[LoggedMetric]) -> list[LoggedModelPoint]:
    return [
        LoggedModelPoint(
            metric.model_id,
            metric.key,
            metric.value,
            metric.step,
            metric.timestamp,
            run_id,
            metric.dataset_name or "",
            metric.dataset_digest or "",
        )
        for metric in metrics
        if metric.model_id
    ]


def _dataset_input(given: InputDataset) -> DatasetInput:
    dataset = given.dataset
    return DatasetInput(
        Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
        by_key(given.tags),
    )


def _model_summary(model_json: str) -> dict[str, object]:
    """What MLflow's `Model.get_tags_dict` keeps of a model."""
    try:
        model = json.loads(model_json)
    except ValueError as error:
        raise InvalidValue("model_json", model_json, f"must be JSON ({error})") from error
    if not isinstance(model, dict) or not all(field in model for field in _MODEL_FIELDS):
        raise InvalidValue("model_json", model_json, f"must be an object with {', '.join(_MODEL_FIELDS)}")
    if not isinstance(model["flavors"], dict):
        raise InvalidValue("model_json", model_json, "its flavors must be an object")
    summary = {name: model.get(name) for name in ("run_id", "artifact_path", "utc_time_created", "model_uuid")}
    summary["flavors"] = {
        flavor: {name: value for name, value in config.items() if name != "config"}
        if isinstance(config, dict)
        else config
        for flavor, config in model["flavors"].items()
    }
    return summary
