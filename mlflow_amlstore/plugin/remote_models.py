"""Registered models and their versions as MLflow's entities, from the JSON of a service.

MLflow's own conversion from protobuf leaves a version's logged model out. What this MLflow's constructors take is found
out once, here, as `convert_models` does for records.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)

MODEL_ID_TAG = "amlstore_model_id"
"""The tag that has a version's logged model, where the workspace itself has no field for it."""

Json = dict[str, Any]

# MLflow's constructors of these have no annotations.
_MODEL_TAG: Callable[[str, str], RegisteredModelTag] = RegisteredModelTag
_VERSION_TAG: Callable[[str, str], ModelVersionTag] = ModelVersionTag
_ALIAS: Callable[[str, int], RegisteredModelAlias] = RegisteredModelAlias

_MODEL_TAKES = frozenset(inspect.signature(RegisteredModel).parameters)
_VERSION_TAKES = frozenset(inspect.signature(ModelVersion).parameters)


def registered_model(message: Json) -> RegisteredModel:
    """A registered model with its latest versions."""
    job = message.get("deployment_job_id")
    newer: Json = {"deployment_job_id": job} if "deployment_job_id" in _MODEL_TAKES else {}
    return RegisteredModel(
        name=message["name"],
        creation_timestamp=message["creation_timestamp"],
        last_updated_timestamp=message["last_updated_timestamp"],
        description=message.get("description"),
        latest_versions=[model_version(item) for item in message.get("latest_versions") or ()],
        tags=[_MODEL_TAG(item["key"], item.get("value", "")) for item in message.get("tags") or ()],
        aliases=[_ALIAS(item["alias"], item["version"]) for item in message.get("aliases") or ()],
        **newer,
    )


def model_version(message: Json) -> ModelVersion:
    """A version."""
    tags = {item["key"]: item.get("value", "") for item in message.get("tags") or ()}
    model_id = message.get("model_id") or tags.get(MODEL_ID_TAG)
    newer: Json = {"model_id": model_id} if "model_id" in _VERSION_TAKES else {}
    return ModelVersion(
        name=message["name"],
        version=message["version"],  # text, as MLflow's own REST store has it
        creation_timestamp=message["creation_timestamp"],
        last_updated_timestamp=message.get("last_updated_timestamp"),
        description=message.get("description"),
        user_id=message.get("user_id"),
        current_stage=message.get("current_stage"),
        source=message.get("source"),
        run_id=message.get("run_id"),
        status=message["status"],
        status_message=message.get("status_message"),
        tags=[_VERSION_TAG(name, value) for name, value in tags.items()],
        run_link=message.get("run_link"),
        aliases=list(message.get("aliases") or ()),
        **newer,
    )
