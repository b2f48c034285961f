"""Records to MLflow's entities and back, for experiments, runs and metrics.

MLflow 2.16 lacks what came with 3.0 (logged models, and a metric's model and dataset); `HAS_LOGGED_MODELS` says which
one is installed, once.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import mlflow.entities as mlflow_entities
from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
from mlflow.environment_variables import MLFLOW_TRUNCATE_LONG_VALUES

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.status import MLFLOW_STATUS, status_from_mlflow
from mlflow_amlstore.records.types import (
    Dataset,
    DatasetInput,
    ExperimentRecord,
    LoggedModelPoint,
    MetricPoint,
    ModelDirection,
    PointColumns,
    PointTuple,
    RunInfo,
    RunModel,
    RunRecord,
    View,
)
from mlflow_amlstore.records.types import RunStatus as RecordStatus
from mlflow_amlstore.records.validation import MAX_PARAM_VALUE_LENGTH, MAX_TAG_VALUE_LENGTH
from mlflow_amlstore.workspace.artifact_uri import artifact_uri

HAS_LOGGED_MODELS = hasattr(mlflow_entities, "LoggedModel")

_VIEWS = {ViewType.ACTIVE_ONLY: View.ACTIVE, ViewType.DELETED_ONLY: View.DELETED, ViewType.ALL: View.ALL}


def to_view(view_type: int) -> View:
    """MLflow's ViewType as ours."""
    if view_type not in _VIEWS:
        raise InvalidValue("view_type", view_type, "must be one of mlflow.entities.ViewType's")
    return _VIEWS[view_type]


def to_status(status: int | str | None) -> RecordStatus | None:
    """MLflow's run status, a number or a word, as ours."""
    if status is None:
        return None
    return status_from_mlflow(RunStatus.to_string(status) if isinstance(status, int) else status)


def to_step_range(start_step: int | None, end_step: int | None) -> tuple[int, int] | None:
    """MLflow's two optional bounds as one range. Raises InvalidValue where only one is given."""
    if start_step is None and end_step is None:
        return None
    if start_step is None or end_step is None:
        raise InvalidValue("start_step, end_step", (start_step, end_step), "give both or neither")
    return start_step, end_step


def to_points(metrics: Sequence[Metric]) -> list[PointTuple]:
    """MLflow's metrics as points of a run."""
    return [(metric.key, metric.value, metric.step, metric.timestamp) for metric in metrics]


def to_model_points(run_id: str, metrics: Sequence[Metric]) -> list[LoggedModelPoint]:
    """Those of the metrics that are about a logged model, as its points."""
    if not HAS_LOGGED_MODELS:
        return []
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
        if metric.model_id is not None
    ]


def to_params(params: Sequence[Param]) -> list[tuple[str, str]]:
    """MLflow's params as pairs; a value too long is cut where MLflow is told to cut (its default)."""
    return [(param.key, _cut(param.value, MAX_PARAM_VALUE_LENGTH)) for param in params]


def to_tags(tags: Sequence[RunTag]) -> list[tuple[str, str]]:
    """MLflow's tags as pairs; a value too long is cut where MLflow is told to cut (its default)."""
    return [(tag.key, _cut(tag.value, MAX_TAG_VALUE_LENGTH)) for tag in tags]


def _cut(value: object, limit: int) -> str:
    text = value if isinstance(value, str) else str(value)
    return text[:limit] if len(text) > limit and MLFLOW_TRUNCATE_LONG_VALUES.get() else text


def to_dataset_inputs(inputs: Iterable[mlflow_entities.DatasetInput]) -> list[DatasetInput]:
    """MLflow's dataset inputs as ours."""
    return [
        DatasetInput(
            Dataset(
                name=given.dataset.name,
                digest=given.dataset.digest,
                source_type=given.dataset.source_type,
                source=given.dataset.source,
                schema=given.dataset.schema,
                profile=given.dataset.profile,
            ),
            {tag.key: tag.value for tag in given.tags},
        )
        for given in inputs
    ]


def experiment_entity(record: ExperimentRecord, root_uri: str) -> mlflow_entities.Experiment:
    """An experiment as MLflow has it."""
    return mlflow_entities.Experiment(
        experiment_id=record.experiment_id,
        name=record.name,
        artifact_location=record.artifact_location or artifact_uri(root_uri, record.experiment_id),
        lifecycle_stage=_lifecycle_stage(record.deleted_ms),
        tags=[mlflow_entities.ExperimentTag(name, value) for name, value in record.tags.items()],
        creation_time=record.created_ms,
        last_update_time=record.updated_ms,
    )


def metric_entities(points: Sequence[MetricPoint]) -> list[Metric]:
    """Points as MLflow's metrics."""
    return [Metric(name, value, timestamp_ms, step) for name, value, step, timestamp_ms in points]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Let no collection begin in the block, which only makes objects that stay.

    Else one begins for every 700 of them, and every so often it goes through all that MLflow has in memory, which takes
    longer than making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def history_entities(points: Sequence[MetricPoint]) -> list[Metric]:
    """A history as MLflow's metrics, without a tuple between where it comes in columns."""
    if not isinstance(points, PointColumns):
        return metric_entities(points)
    columns = zip(points.values, points.timestamps_ms, points.steps, strict=True)
    with no_garbage_collection():
        return [Metric(points.name, value, timestamp_ms, step) for value, timestamp_ms, step in columns]


def run_info_entity(info: RunInfo, root_uri: str) -> mlflow_entities.RunInfo:
    """A run's facts as MLflow has them."""
    return mlflow_entities.RunInfo(
        info.run_id,
        info.experiment_id,
        info.user_id,
        MLFLOW_STATUS[info.status],
        info.created_ms if info.start_ms is None else info.start_ms,
        info.end_ms,
        _lifecycle_stage(info.deleted_ms),
        artifact_uri=info.artifact_location or artifact_uri(root_uri, run_container(info.experiment_id, info.run_id)),
        run_name=info.name,
    )


def run_entity(record: RunRecord, root_uri: str) -> mlflow_entities.Run:
    """A whole run as MLflow has it."""
    data = mlflow_entities.RunData(
        metrics=metric_entities(record.metrics),
        params=[Param(name, value) for name, value in record.params.items()],
        tags=[RunTag(name, value) for name, value in record.tags.items()],
    )
    info = run_info_entity(record.info, root_uri)
    datasets = [_dataset_input_entity(given) for given in record.datasets]
    if not HAS_LOGGED_MODELS:
        return mlflow_entities.Run(info, data, mlflow_entities.RunInputs(dataset_inputs=datasets))
    return mlflow_entities.Run(info, data, *_model_entities(datasets, record.models))


def _model_entities(
    datasets: list[mlflow_entities.DatasetInput], models: Sequence[RunModel]
) -> "tuple[mlflow_entities.RunInputs, mlflow_entities.RunOutputs]":
    inputs = [model.model_id for model in models if model.direction is ModelDirection.INPUT]
    outputs = [model for model in models if model.direction is ModelDirection.OUTPUT]
    return (
        mlflow_entities.RunInputs(
            dataset_inputs=datasets, model_inputs=[mlflow_entities.LoggedModelInput(model_id) for model_id in inputs]
        ),
        mlflow_entities.RunOutputs(
            model_outputs=[mlflow_entities.LoggedModelOutput(model.model_id, model.step) for model in outputs]
        ),
    )


def _dataset_input_entity(given: DatasetInput) -> mlflow_entities.DatasetInput:
    dataset = given.dataset
    return mlflow_entities.DatasetInput(
        dataset=mlflow_entities.Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
        tags=[mlflow_entities.InputTag(name, value) for name, value in given.tags.items()],
    )


def _lifecycle_stage(deleted_ms: int | None) -> str:
    return mlflow_entities.LifecycleStage.ACTIVE if deleted_ms is None else mlflow_entities.LifecycleStage.DELETED
