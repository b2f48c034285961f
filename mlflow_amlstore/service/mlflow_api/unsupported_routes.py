"""What MLflow's servers can do and this service can't: each endpoint answers one clear NOT_IMPLEMENTED error.

After a 404, MLflow's client would try an older endpoint too: one more request for each trace. This error makes its
tracing log the problem and go on, so a training script that merely autologs isn't disturbed.
"""

from collections.abc import Callable

from mlflow_amlstore.errors import NotSupported
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)

_BY_TOPIC = {
    "Tracing": """
        POST /api/2.0/mlflow/traces
        GET /api/2.0/mlflow/traces
        PATCH /api/2.0/mlflow/traces/{request_id}
        GET /api/2.0/mlflow/traces/{request_id}/info
        PATCH /api/2.0/mlflow/traces/{request_id}/tags
        DELETE /api/2.0/mlflow/traces/{request_id}/tags
        POST /api/2.0/mlflow/traces/delete-traces
        POST /api/2.0/mlflow/traces/link-to-run
        POST /api/2.0/mlflow/traces/link-prompts
        GET /api/2.0/mlflow/unified-traces
        GET /api/2.0/mlflow/get-online-trace-details
        POST /api/3.0/mlflow/traces
        GET /api/3.0/mlflow/traces/get
        GET /api/3.0/mlflow/traces/batchGet
        POST /api/3.0/mlflow/traces/batchGetInfos
        POST /api/3.0/mlflow/traces/delete-traces
        POST /api/3.0/mlflow/traces/calculate-filter-correlation
        POST /api/3.0/mlflow/traces/metrics
        GET /api/3.0/mlflow/traces/{trace_id}
        PATCH /api/3.0/mlflow/traces/{trace_id}/tags
        DELETE /api/3.0/mlflow/traces/{trace_id}/tags
    """,
    # Once MLflow's exporter has read these very words, it sends no more spans (`mlflow/tracing/export/mlflow_v3.py`).
    "REST OTLP span logging": "POST /v1/traces",
    "Assessing traces": """
        POST /api/3.0/mlflow/traces/{trace_id}/assessments
        GET /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
        PATCH /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
        DELETE /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
    """,
    "Issues of traces": """
        POST /api/3.0/mlflow/issues
        GET /api/3.0/mlflow/issues/{issue_id}
        PATCH /api/3.0/mlflow/issues/{issue_id}
        POST /api/3.0/mlflow/issues/search
    """,
    "Evaluation datasets": """
        POST /api/3.0/mlflow/datasets/create
        GET /api/3.0/mlflow/datasets/search
        POST /api/3.0/mlflow/datasets/search
        GET /api/3.0/mlflow/datasets/{dataset_id}
        DELETE /api/3.0/mlflow/datasets/{dataset_id}
        PATCH /api/3.0/mlflow/datasets/{dataset_id}/tags
        DELETE /api/3.0/mlflow/datasets/{dataset_id}/tags/{key}
        GET /api/3.0/mlflow/datasets/{dataset_id}/records
        POST /api/3.0/mlflow/datasets/{dataset_id}/records
        DELETE /api/3.0/mlflow/datasets/{dataset_id}/records
        GET /api/3.0/mlflow/datasets/{dataset_id}/experiment-ids
        POST /api/3.0/mlflow/datasets/{dataset_id}/add-experiments
        POST /api/3.0/mlflow/datasets/{dataset_id}/remove-experiments
    """,
    "Scorers": """
        POST /api/3.0/mlflow/scorers/register
        GET /api/3.0/mlflow/scorers/list
        GET /api/3.0/mlflow/scorers/versions
        GET /api/3.0/mlflow/scorers/get
        DELETE /api/3.0/mlflow/scorers/delete
        PUT /api/3.0/mlflow/scorers/online-config
        GET /api/3.0/mlflow/scorers/online-configs
    """,
    "Label schemas": """
        POST /api/3.0/mlflow/label-schemas/create
        GET /api/3.0/mlflow/label-schemas/get
        GET /api/3.0/mlflow/label-schemas/get-by-name
        GET /api/3.0/mlflow/label-schemas/list
        PATCH /api/3.0/mlflow/label-schemas/update
        DELETE /api/3.0/mlflow/label-schemas/delete
    """,
    "Review queues": """
        POST /api/3.0/mlflow/review-queues/create
        POST /api/3.0/mlflow/review-queues/get-or-create-user
        GET /api/3.0/mlflow/review-queues/get
        GET /api/3.0/mlflow/review-queues/get-by-name
        GET /api/3.0/mlflow/review-queues/list
        POST /api/3.0/mlflow/review-queues/update
        POST /api/3.0/mlflow/review-queues/delete
        POST /api/3.0/mlflow/review-queues/items/add
        POST /api/3.0/mlflow/review-queues/items/remove
        GET /api/3.0/mlflow/review-queues/items/list
        POST /api/3.0/mlflow/review-queues/items/set-status
    """,
    "Prompt optimization": """
        POST /api/3.0/mlflow/prompt-optimization/jobs
        GET /api/3.0/mlflow/prompt-optimization/jobs/search
        POST /api/3.0/mlflow/prompt-optimization/jobs/search
        GET /api/3.0/mlflow/prompt-optimization/jobs/{job_id}
        POST /api/3.0/mlflow/prompt-optimization/jobs/{job_id}/cancel
        DELETE /api/3.0/mlflow/prompt-optimization/jobs/{job_id}
    """,
    "MLflow's own workspaces": """
        GET /api/3.0/mlflow/workspaces
        POST /api/3.0/mlflow/workspaces
        GET /api/3.0/mlflow/workspaces/{workspace_name}
        PATCH /api/3.0/mlflow/workspaces/{workspace_name}
        DELETE /api/3.0/mlflow/workspaces/{workspace_name}
    """,
    "Calling a webhook": """
        POST /api/2.0/mlflow/webhooks
        GET /api/2.0/mlflow/webhooks
        GET /api/2.0/mlflow/webhooks/{webhook_id}
        PATCH /api/2.0/mlflow/webhooks/{webhook_id}
        DELETE /api/2.0/mlflow/webhooks/{webhook_id}
        POST /api/2.0/mlflow/webhooks/{webhook_id}/test
    """,
    "The AI gateway": """
        POST /api/3.0/mlflow/gateway/secrets/create
        GET /api/3.0/mlflow/gateway/secrets/get
        POST /api/3.0/mlflow/gateway/secrets/update
        DELETE /api/3.0/mlflow/gateway/secrets/delete
        GET /api/3.0/mlflow/gateway/secrets/list
        POST /api/3.0/mlflow/gateway/endpoints/create
        GET /api/3.0/mlflow/gateway/endpoints/get
        POST /api/3.0/mlflow/gateway/endpoints/update
        DELETE /api/3.0/mlflow/gateway/endpoints/delete
        GET /api/3.0/mlflow/gateway/endpoints/list
        POST /api/3.0/mlflow/gateway/endpoints/models/attach
        POST /api/3.0/mlflow/gateway/endpoints/models/detach
        POST /api/3.0/mlflow/gateway/endpoints/bindings/create
        DELETE /api/3.0/mlflow/gateway/endpoints/bindings/delete
        GET /api/3.0/mlflow/gateway/endpoints/bindings/list
        POST /api/3.0/mlflow/gateway/endpoints/set-tag
        DELETE /api/3.0/mlflow/gateway/endpoints/delete-tag
        POST /api/3.0/mlflow/gateway/model-definitions/create
        GET /api/3.0/mlflow/gateway/model-definitions/get
        GET /api/3.0/mlflow/gateway/model-definitions/list
        POST /api/3.0/mlflow/gateway/model-definitions/update
        DELETE /api/3.0/mlflow/gateway/model-definitions/delete
        POST /api/3.0/mlflow/gateway/budgets/create
        GET /api/3.0/mlflow/gateway/budgets/get
        POST /api/3.0/mlflow/gateway/budgets/update
        DELETE /api/3.0/mlflow/gateway/budgets/delete
        GET /api/3.0/mlflow/gateway/budgets/list
        GET /api/3.0/mlflow/gateway/budgets/windows
        POST /api/3.0/mlflow/gateway/guardrails/create
        GET /api/3.0/mlflow/gateway/guardrails/get
        DELETE /api/3.0/mlflow/gateway/guardrails/delete
        GET /api/3.0/mlflow/gateway/guardrails/list
        POST /api/3.0/mlflow/gateway/guardrails/add-to-endpoint
        DELETE /api/3.0/mlflow/gateway/guardrails/remove-from-endpoint
        GET /api/3.0/mlflow/gateway/guardrails/list-for-endpoint
        PATCH /api/3.0/mlflow/gateway/guardrails/update-config
    """,
    "The MCP server registry": """
        GET /api/3.0/mlflow/mcp-servers
        POST /api/3.0/mlflow/mcp-servers
        GET /api/3.0/mlflow/mcp-servers/{rest:path}
        POST /api/3.0/mlflow/mcp-servers/{rest:path}
        PATCH /api/3.0/mlflow/mcp-servers/{rest:path}
        DELETE /api/3.0/mlflow/mcp-servers/{rest:path}
    """,
}


def _refusal(topic: str) -> Callable[[Call], None]:
    def refuse(call: Call) -> None:
        raise NotSupported(topic)

    refuse.__doc__ = f"Answers NOT_IMPLEMENTED: {topic}."
    return refuse


for _topic, _lines in _BY_TOPIC.items():
    for _line in _lines.split("\n"):
        if _line.strip():
            _method, _path = _line.split()
            routes.add(_method, _path, Role.READER, Right.TRACK)(_refusal(_topic))
