"""Where the service's parts are: the paths that Azure ML's clients expect, and the tracking URI that leads there."""

from functools import lru_cache
from urllib.parse import quote

from mlflow_amlstore.workspace import tracking_uri
from mlflow_amlstore.workspace.tracking_uri import RESOURCE_GROUP as RESOURCE_GROUP
from mlflow_amlstore.workspace.tracking_uri import SUBSCRIPTION_ID as SUBSCRIPTION_ID

TENANT_ID = SUBSCRIPTION_ID
LOCATION = "local"
STORAGE_SUFFIX = "core.windows.net"
BLOB_PREFIX = f"/amlstore.blob.{STORAGE_SUFFIX}"
"""What content URLs begin with; it has the form of a storage account's host, for which Azure ML's clients look."""

WORKSPACE = tracking_uri.workspace_path("{sub}", "{rg}", "{ws}")
"""The path of a workspace in the route table."""


def workspace_path(workspace_name: str) -> str:
    """`/subscriptions/…/workspaces/NAME`, as it is before it's percent-encoded."""
    return tracking_uri.workspace_path(SUBSCRIPTION_ID, RESOURCE_GROUP, workspace_name)


@lru_cache(maxsize=64)
def tracking_root(base_url: str, workspace_name: str, api_version: str = "v2.0") -> str:
    """The workspace's tracking URI at an address (`https://HOST`), without a query."""
    scheme, _, host = base_url.partition("://")
    path = quote(workspace_path(workspace_name))
    return f"azureml{'' if scheme == 'https' else '+http'}://{host}/mlflow/{api_version}{path}"
