"""Registered models, versions and logged models as MLflow's entities.

MLflow's entities have gained constructor arguments since 2.16; which of them this MLflow takes is found out once, here.
`mlflow.entities.LoggedModel` came with MLflow 3, so it is looked up when it is needed.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mlflow import entities as mlflow_entities
from mlflow.entities import model_registry

from mlflow_amlstore.records.locations import logged_model_container
from mlflow_amlstore.records.types import LoggedModelPoint, LoggedModelRecord, ModelRecord, ModelVersionRecord
from mlflow_amlstore.workspace.artifact_uri import from_stored_source

# MLflow's constructors of these have no annotations.
_MODEL_TAG: Callable[[str, str], model_registry.RegisteredModelTag] = model_registry.RegisteredModelTag
_VERSION_TAG: Callable[[str, str], model_registry.ModelVersionTag] = model_registry.ModelVersionTag
_ALIAS: Callable[[str, int], model_registry.RegisteredModelAlias] = model_registry.RegisteredModelAlias

_MODEL_TAKES = frozenset(inspect.signature(model_registry.RegisteredModel).parameters)
_VERSION_TAKES = frozenset(inspect.signature(model_registry.ModelVersion).parameters)


def registered_model(record: ModelRecord, root_uri: str) -> model_registry.RegisteredModel:
    """Convert a registered model with its latest versions."""
    newer = _taken(_MODEL_TAKES, deployment_job_id=record.deployment_job_id)
    return model_registry.RegisteredModel(
        name=record.name,
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        description=record.description,
        latest_versions=[model_version(version, root_uri) for version in record.latest_versions],
        tags=[_MODEL_TAG(name, value) for name, value in record.tags.items()],
        aliases=[_ALIAS(alias, version) for alias, version in record.aliases.items()],
        **newer,
    )


def model_version(record: ModelVersionRecord, root_uri: str) -> model_registry.ModelVersion:
    """Convert a version."""
    newer = _taken(_VERSION_TAKES, model_id=record.model_id)
    return model_registry.ModelVersion(
        name=record.name,
        version=record.version,  # type: ignore[arg-type]  # an int, as MLflow's own SQL store has it
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        description=record.description,
        user_id=record.user_id,
        current_stage=record.stage,
        source=from_stored_source(root_uri, record.source),
        run_id=record.run_id,
        status=record.status,
        status_message=record.status_message,
        tags=[_VERSION_TAG(name, value) for name, value in record.tags.items()],
        run_link=record.run_link,
        aliases=record.aliases,
        **newer,
    )


def logged_model(record: LoggedModelRecord, root_uri: str) -> "mlflow_entities.LoggedModel":
    """Convert a logged model (MLflow 3)."""
    in_workspace = f"{root_uri}/{logged_model_container(record.experiment_id, record.model_id)}"
    return mlflow_entities.LoggedModel(
        experiment_id=record.experiment_id,
        model_id=record.model_id,
        name=record.name,
        artifact_location=record.artifact_location or in_workspace,
        creation_timestamp=record.created_ms,
        last_updated_timestamp=record.updated_ms,
        model_type=record.model_type,
        source_run_id=record.source_run_id,
        status=mlflow_entities.LoggedModelStatus(record.status),
        status_message=record.status_message,
        tags=record.tags,
        params=record.params,
        metrics=[_metric(point) for point in record.metrics],
    )


def _metric(point: LoggedModelPoint) -> mlflow_entities.Metric:
    return mlflow_entities.Metric(
        key=point.name,
        value=point.value,
        timestamp=point.timestamp_ms,
        step=point.step,
        model_id=point.model_id,
        dataset_name=point.dataset_name or None,
        dataset_digest=point.dataset_digest or None,
        run_id=point.run_id or None,
    )


def _taken(takes: frozenset[str], **arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name in takes}
