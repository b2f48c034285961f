"""What MLflow's tracking stores can do and this one can't yet: each answers with one clear NOT_IMPLEMENTED error.

The error is a NotImplementedError too, because MLflow's tracing catches that one and goes on (`mlflow/tracing/export`):
a training script that merely autologs must not break. Elsewhere MLflow catches its own MlflowNotImplementedException.
"""

import inspect
from collections.abc import Callable
from typing import Any

from mlflow.store.tracking.abstract_store import AbstractStore

from mlflow_amlstore.errors import NotSupported

try:
    from mlflow.exceptions import MlflowNotImplementedException as _MlflowNotImplemented
except ImportError:  # MLflow 2
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED

    class _MlflowNotImplemented(MlflowException):  # type: ignore[no-redef]
        def __init__(self, message: str = "") -> None:
            super().__init__(message, error_code=NOT_IMPLEMENTED)


_METHODS_BY_TOPIC = {
    "Tracing": (
        "start_trace end_trace deprecated_start_trace_v2 deprecated_end_trace_v2 delete_traces get_trace_info "
        "get_trace batch_get_traces batch_get_trace_infos archive_traces get_online_trace_details "
        "find_completed_sessions query_trace_metrics set_trace_tag delete_trace_tag log_spans link_traces_to_run "
        "unlink_traces_from_run link_prompts_to_trace calculate_trace_filter_correlation"
    ),
    "Assessing traces": "get_assessment create_assessment update_assessment delete_assessment",
    "Issues of traces": "create_issue get_issue update_issue search_issues",
    "Evaluation datasets": (
        "create_dataset get_dataset delete_dataset search_datasets upsert_dataset_records delete_dataset_records "
        "set_dataset_tags delete_dataset_tag get_dataset_experiment_ids add_dataset_to_experiments "
        "remove_dataset_from_experiments"
    ),
    "Scorers": (
        "register_scorer list_scorers list_scorers_across_experiments get_scorer list_scorer_versions delete_scorer "
        "upsert_online_scoring_config get_online_scoring_configs get_active_online_scorers"
    ),
    "Label schemas": (
        "create_label_schema get_label_schema get_label_schema_by_name list_label_schemas update_label_schema "
        "delete_label_schema"
    ),
    "Review queues": (
        "create_review_queue get_or_create_user_queue get_review_queue get_review_queue_by_name list_review_queues "
        "update_review_queue delete_review_queue add_items_to_review_queue remove_items_from_review_queue "
        "list_review_queue_items set_review_queue_item_status"
    ),
}


# Whole topics that MLflow keeps in base classes of their own; one that a newer MLflow adds goes by its class's name.
_TOPICS_BY_BASE = {"GatewayStoreMixin": "The AI gateway", "MCPServerRegistryMixin": "The MCP server registry"}


class NotImplementedMlflowException(_MlflowNotImplemented, NotImplementedError):
    """MLflow's error with the code NOT_IMPLEMENTED, which code that only knows Python's own error catches too."""


def _refusal(topic: str, name: str) -> Callable[..., Any]:
    def refuse(self: object, *_args: object, **_kwargs: object) -> Any:
        raise NotImplementedMlflowException(str(NotSupported(f"{topic} ({name})")))

    refuse.__name__ = name
    refuse.__doc__ = f"Raises NOT_IMPLEMENTED: {topic[:1].lower()}{topic[1:]}."
    return refuse


class UnsupportedMethods:
    """Mixin: the methods above, each of which raises NotImplementedMlflowException."""


class NoTraces:
    """Mixin: a workspace keeps no traces yet."""

    def search_traces(self, *_args: Any, **_kwargs: Any) -> tuple[list[Any], str | None]:
        """Find none, as none is kept. After its work, `mlflow.genai.evaluate` looks for those that it logged."""
        return [], None


def _public_methods(base: type) -> list[str]:
    return [name for name, member in vars(base).items() if inspect.isfunction(member) and not name.startswith("_")]


for _topic, _names in _METHODS_BY_TOPIC.items():
    for _name in _names.split():
        setattr(UnsupportedMethods, _name, _refusal(_topic, _name))
for _base in AbstractStore.__bases__:
    for _name in _public_methods(_base):
        setattr(UnsupportedMethods, _name, _refusal(_TOPICS_BY_BASE.get(_base.__name__, _base.__name__), _name))
