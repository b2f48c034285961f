"""What Azure ML's clients ask the cloud itself: which clouds there are, and where a workspace is.

A client that is told ARM_CLOUD_METADATA_URL=https://HOST/metadata/endpoints and AZUREML_CURRENT_CLOUD=AmlStore takes
this service for the Azure Resource Manager. As there, the fixed parts of a path and the names in it may be in any case.
"""

import msgspec

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.runner.sdk_variables import CLOUD_NAME
from mlflow_amlstore.service.addresses import (
    LOCATION,
    RESOURCE_GROUP,
    STORAGE_SUFFIX,
    SUBSCRIPTION_ID,
    TENANT_ID,
    WORKSPACE,
    tracking_root,
    workspace_path,
)
from mlflow_amlstore.service.routing import Access, Area, Call, Role, Routes

ROUTES = Routes(Area.ARM)

_ACTIONS = {
    Role.READER: ["*/read"],
    Role.CONTRIBUTOR: [
        "*/read",
        "Microsoft.MachineLearningServices/workspaces/*/write",
        "Microsoft.MachineLearningServices/workspaces/*/delete",
    ],
    Role.SUBMITTER: ["*/read", "Microsoft.MachineLearningServices/workspaces/*"],
    Role.OWNER: ["*"],
}


class Authentication(msgspec.Struct, frozen=True, rename="camel"):
    """Where tokens come from, and what for."""

    login_endpoint: str
    audiences: list[str]
    tenant: str
    identity_provider: str


class Suffixes(msgspec.Struct, frozen=True, rename="camel"):
    """What the host names of a cloud's services end with."""

    storage: str
    key_vault_dns: str


class Cloud(msgspec.Struct, frozen=True, rename="camel"):
    """A cloud: the address of its parts."""

    name: str
    portal: str
    resource_manager: str
    media: str
    graph: str
    graph_audience: str
    authentication: Authentication
    suffixes: Suffixes


class ArmQuery(msgspec.Struct, frozen=True, rename={"api_version": "api-version"}):
    """The version of the API that a client speaks; what is answered is good for each."""

    api_version: str = ""


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription."""

    id: str
    subscription_id: str
    tenant_id: str
    display_name: str
    state: str


class Subscriptions(msgspec.Struct, frozen=True):
    """All subscriptions."""

    value: list[Subscription]


class Sku(msgspec.Struct, frozen=True):
    """What kind of workspace was bought."""

    name: str
    tier: str


class WorkspaceProperties(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a workspace."""

    workspace_id: str
    friendly_name: str
    description: str
    discovery_url: str
    ml_flow_tracking_uri: str
    provisioning_state: str


class Workspace(msgspec.Struct, frozen=True):
    """A workspace as the Azure Resource Manager has it."""

    id: str
    name: str
    type: str
    location: str
    tags: dict[str, str]
    sku: Sku
    properties: WorkspaceProperties


class Permission(msgspec.Struct, frozen=True, rename="camel"):
    """What a role of Azure's allows, with wildcards, and what is taken out of that."""

    actions: list[str]
    not_actions: list[str] = []
    data_actions: list[str] = []
    not_data_actions: list[str] = []


class Permissions(msgspec.Struct, frozen=True):
    """All that somebody's roles allow."""

    value: list[Permission]


@ROUTES.get("/metadata/endpoints", Access.PUBLIC)
def list_clouds(call: Call, body: ArmQuery) -> list[Cloud]:
    """List the clouds: this service alone."""
    base = call.base_url
    login = Authentication(login_endpoint=base, audiences=[base], tenant="common", identity_provider="AAD")
    suffixes = Suffixes(storage=STORAGE_SUFFIX, key_vault_dns="vault.local")
    return [
        Cloud(
            name=CLOUD_NAME,
            portal=base,
            resource_manager=base,
            media="",
            graph="",
            graph_audience="",
            authentication=login,
            suffixes=suffixes,
        )
    ]


@ROUTES.get("/subscriptions", Role.READER)
def list_subscriptions(call: Call, body: ArmQuery) -> Subscriptions:
    """List the subscriptions: the one that every service has."""
    path = f"/subscriptions/{SUBSCRIPTION_ID}"
    return Subscriptions([Subscription(path, SUBSCRIPTION_ID, TENANT_ID, CLOUD_NAME, "Enabled")])


@ROUTES.get(WORKSPACE, Role.READER)
@ROUTES.get(f"/rp/workspaces{WORKSPACE}", Role.READER)
def get_workspace(call: Call, body: ArmQuery) -> Workspace:
    """Tell of the workspace."""
    _check_own(call)
    return Workspace(
        id=workspace_path(call.workspace_name),
        name=call.workspace_name,
        type="Microsoft.MachineLearningServices/workspaces",
        location=LOCATION,
        tags={},
        sku=Sku("Basic", "Basic"),
        properties=WorkspaceProperties(
            workspace_id=call.records.workspace_id,
            friendly_name=call.workspace_name,
            description="",
            discovery_url=f"{call.base_url}/discovery",
            ml_flow_tracking_uri=tracking_root(call.base_url, call.workspace_name, "v1.0"),
            provisioning_state="Succeeded",
        ),
    )


@ROUTES.get(f"{WORKSPACE}/providers/Microsoft.Authorization/permissions", Role.READER)
def list_permissions(call: Call, body: ArmQuery) -> Permissions:
    """List what the caller may do, as the roles of Azure that are most like this service's would allow it."""
    _check_own(call)
    assert call.caller is not None
    return Permissions([Permission(_ACTIONS[call.caller.role])])


def _check_own(call: Call) -> None:
    own = (SUBSCRIPTION_ID, RESOURCE_GROUP, call.workspace_name)
    if tuple(call.path[part].lower() for part in ("sub", "rg", "ws")) != tuple(name.lower() for name in own):
        raise NotFound("workspace", call.path["ws"], f"This service has only {workspace_path(call.workspace_name)}")
