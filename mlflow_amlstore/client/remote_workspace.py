"""A workspace that a service has: its facts and its connection."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.tokens.credentials import Credential
from mlflow_amlstore.errors import ServiceUnreachable
from mlflow_amlstore.workspace.service_url import service_url_of
from mlflow_amlstore.workspace.tracking_uri import REMOTE, REMOTE_PLAIN

_RETRY_FOR_S = 30.0  # nothing is lost yet, and it may be a slip of the pen


@dataclass(frozen=True)
class RemoteWorkspace:
    """A workspace behind a service. Can be pickled, and copied to other processes, as its connection can."""

    connection: Connection
    name: str
    workspace_id: str
    subscription_id: str
    resource_group: str
    location: str


def open_service(service_url: str, credential: Credential | None = None) -> RemoteWorkspace:
    """Ask a service which workspace it has; no credential is needed or used for that.

    Raises ServiceUnreachable, ServiceError, InvalidValue for what is no service's address.
    """
    service_url = service_url_of(service_url)
    try:
        backoff = Backoff(f"The workspace service {service_url}", _RETRY_FOR_S)
        facts = ServiceCall("GET", service_url, "/discovery", backoff=backoff).send(None)
        root = _root_at(service_url, facts["trackingRoot"])
        return RemoteWorkspace(
            connection_of(root, credential),
            facts["workspaceName"],
            facts["workspaceId"],
            facts["subscriptionId"],
            facts["resourceGroup"],
            facts["location"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ServiceUnreachable(service_url, "what answers there is no workspace service") from error
    except BearerRefused:
        raise ServiceUnreachable(service_url, "what answers there wants a login to say what it is") from None


def remote_workspace_of(uri: str) -> RemoteWorkspace:
    """The workspace that a remote tracking URI names. No request is made, because not all tokens may ask.

    Raises TrackingUriInvalid.
    """
    connection = connection_of(uri)
    _, _, subscription, _, group, *_, name = unquote(connection.workspace_path).split("/")
    return RemoteWorkspace(connection, name, "", subscription, group, "")


def _root_at(service_url: str, told: str) -> str:
    """The workspace's root at the address that was asked: whatever host the answer names, no token goes there."""
    scheme, _, host = service_url.partition("://")
    return f"{REMOTE if scheme == 'https' else REMOTE_PLAIN}://{host}{urlsplit(told).path}"
