"""The variables by which Azure ML's own SDK finds the workspace of a script's run (azureml-wire.md, section 3.2)."""

from mlflow_amlstore.workspace.tracking_uri import parse

CLOUD_NAME = "AmlStore"
"""The cloud that a service is to the SDK."""


def sdk_variables(root_uri: str, experiment_id: str, experiment: str) -> dict[str, str]:
    """The variables for a run of a service's workspace. `root_uri` is the workspace's tracking URI."""
    uri = parse(root_uri)
    _, _, subscription, _, group, *_, name = uri.workspace_path.split("/")
    return {
        "ARM_CLOUD_METADATA_URL": f"{uri.service_url}/metadata/endpoints?api-version=2019-05-01",
        "AZUREML_CURRENT_CLOUD": CLOUD_NAME,
        "AZUREML_ARM_SUBSCRIPTION": subscription,
        "AZUREML_ARM_RESOURCEGROUP": group,
        "AZUREML_ARM_WORKSPACE_NAME": name,
        "AZUREML_ARM_PROJECT_NAME": experiment,
        "AZUREML_EXPERIMENT_ID": experiment_id,
        "AZUREML_SERVICE_ENDPOINT": uri.service_url,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{uri.service_url}/discovery",
    }
