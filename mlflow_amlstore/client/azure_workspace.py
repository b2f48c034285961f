"""A workspace of Azure ML, as Azure's resource manager describes it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.remote_workspace import RemoteWorkspace
from mlflow_amlstore.client.tokens.clouds import Cloud, current_cloud
from mlflow_amlstore.client.tokens.credentials import Credential, check_credential
from mlflow_amlstore.client.tokens.sign_in import SignIn
from mlflow_amlstore.errors import InvalidValue, NotFound, ServiceError, ServiceUnreachable, TokenRefused
from mlflow_amlstore.workspace.service_url import service_url_of
from mlflow_amlstore.workspace.tracking_uri import REMOTE, parse, workspace_path

_API_VERSION = "2022-05-01"  # the oldest that has mlFlowTrackingUri, so that every cloud has it
_PERMISSIONS_VERSION = "2022-04-01"
RETRY_FOR_S = 30.0
"""For how long a refused connection is tried again: nothing is lost yet, and it may be a slip of the pen."""


def open_azure_workspace(
    subscription_id: str, resource_group: str, workspace_name: str, credential: Credential | None = None
) -> RemoteWorkspace:
    """Ask the resource manager of the current cloud (`tokens.clouds`) for a workspace.

    Raises InvalidValue for a name that is empty, NotFound, LoginNeeded, TokenRefused, ServiceError (PERMISSION_DENIED
    says which action isn't allowed), ServiceUnreachable.
    """
    named = {"subscription_id": subscription_id, "resource_group": resource_group, "workspace_name": workspace_name}
    for field, value in named.items():
        if not value.strip() or "/" in value:
            raise InvalidValue(field, value, "must name it, without a slash: all three are in the portal's config.json")
    if credential is not None:
        check_credential(credential)
    cloud = current_cloud()
    sign_in = SignIn(cloud.resource_manager, cloud, credential)
    path = workspace_path(*map(quote, named.values()))
    document = _document(cloud, sign_in, path, workspace_name)
    try:
        properties = document["properties"]
        return RemoteWorkspace(
            connection_of(
                _root(cloud, properties, path),
                sign_in.default_credential() if credential is None else credential,
                cloud,
            ),
            document["name"],
            properties.get("workspaceId", ""),
            subscription_id,
            resource_group,
            document.get("location", ""),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ServiceUnreachable(cloud.resource_manager, "what it says of the workspace makes no sense") from error


def permissions(connection: Connection) -> list[tuple[list[str], list[str]]]:
    """What the credential's roles allow on a workspace: actions, and actions taken out of them, with wildcards.

    Raises ServiceError, ServiceUnreachable, LoginNeeded, TokenRefused.
    """
    cloud = current_cloud()
    path = f"{connection.workspace_path}/providers/Microsoft.Authorization/permissions"
    backoff = Backoff(f"Azure's resource manager {cloud.resource_manager}", RETRY_FOR_S)
    call = ServiceCall(
        "GET", cloud.resource_manager, path, params={"api-version": _PERMISSIONS_VERSION}, backoff=backoff
    )
    try:
        found = call.send(connection.token())
        return [(list(item["actions"]), list(item.get("notActions") or ())) for item in found["value"]]
    except BearerRefused as refused:
        raise TokenRefused(refused.problem) from None
    except (KeyError, TypeError) as error:
        raise ServiceUnreachable(cloud.resource_manager, "what it says of roles makes no sense") from error


def _document(cloud: Cloud, sign_in: SignIn, path: str, name: str) -> Any:
    backoff = Backoff(f"Azure's resource manager {cloud.resource_manager}", RETRY_FOR_S)
    call = ServiceCall("GET", cloud.resource_manager, path, params={"api-version": _API_VERSION}, backoff=backoff)
    token = sign_in.fetch(None, backoff, "")
    try:
        try:
            return call.send(token.text)
        except BearerRefused as refused:
            problem = refused.problem
        return call.send(sign_in.fetch(token, backoff, problem).text)
    except BearerRefused as refused:
        raise TokenRefused(f"{cloud.resource_manager} refused the credential's tokens: {refused.problem}") from None
    except ServiceError as error:
        if error.http_status == 404:
            raise NotFound("workspace", name, f"Azure says: {error.message}. Look at config.json") from None
        raise


def _root(cloud: Cloud, properties: Mapping[str, Any], path: str) -> str:
    """The workspace's tracking URI without a query. An older workspace's document has no such property, and its
    discovery document says where it is."""
    told = properties.get("mlFlowTrackingUri")
    if told:
        host = urlsplit(parse(told).root).netloc
    else:
        where = urlsplit(properties["discoveryUrl"])
        origin = service_url_of(f"{where.scheme}://{where.netloc}")
        host = urlsplit(ServiceCall("GET", origin, where.path).send(None)["api"]).netloc
    return f"{REMOTE}://{unquote(host)}/mlflow/v2.0{path}"
