"""What a client may learn before it has a token: which workspace this is, and where its parts are."""

import msgspec

from mlflow_amlstore.service.addresses import LOCATION, RESOURCE_GROUP, SUBSCRIPTION_ID, tracking_root
from mlflow_amlstore.service.routing import Access, Area, Call, Routes

ROUTES = Routes(Area.ROOT)


class Discovery(msgspec.Struct, frozen=True, rename="camel"):
    """The service's addresses, under Azure ML's names, and its workspace.

    `trackingRoot` is the workspace's tracking URI without its query.
    """

    api: str
    history: str
    experimentation: str
    modelmanagement: str
    hyperdrive: str
    studio: str
    workspace_name: str
    workspace_id: str
    subscription_id: str
    resource_group: str
    location: str
    tracking_root: str


@ROUTES.get("/discovery", Access.PUBLIC)
def discover(call: Call) -> Discovery:
    """Say which workspace this service has, and where."""
    base = call.base_url
    return Discovery(
        api=base,
        history=base,
        experimentation=base,
        modelmanagement=base,
        hyperdrive=base,
        studio=base,
        workspace_name=call.workspace_name,
        workspace_id=call.records.workspace_id,
        subscription_id=SUBSCRIPTION_ID,
        resource_group=RESOURCE_GROUP,
        location=LOCATION,
        tracking_root=tracking_root(call.base_url, call.workspace_name),
    )
