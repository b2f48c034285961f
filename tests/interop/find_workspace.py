"""Find the workspace as Azure ML's users do: by its name, with `MLClient` and a login; then track into what was found.

python find_workspace.py SUBSCRIPTION RESOURCE_GROUP WORKSPACE
"""

import json
import sys

import mlflow
from azure.ai.ml import MLClient
from azure.identity import AzureCliCredential

workspaces = MLClient(AzureCliCredential(), *sys.argv[1:], enable_telemetry=False).workspaces
found = workspaces.get(sys.argv[3])
mlflow.set_tracking_uri(found.mlflow_tracking_uri)
mlflow.set_experiment("found by name")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
    mlflow.log_text("content", "file.txt")
print(
    json.dumps(
        {
            "id": found.id,
            "tracking URI": found.mlflow_tracking_uri,
            "discovery URL": found.discovery_url,
            "metric": mlflow.get_run(run.info.run_id).data.metrics["m"],
            "text": mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/file.txt"),
        }
    )
)
