"""A workspace that a service has: its facts, its connection, and what a list of experiments and models needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow_amlstore.errors import ServiceUnreachable
from mlflow_amlstore.records.types import ExperimentRecord, ModelRecord, ModelVersionRecord
from mlflow_amlstore.workspace.connection import Connection, connection_of
from mlflow_amlstore.workspace.patience import Patience
from mlflow_amlstore.workspace.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.workspace.service_url import service_url_of
from mlflow_amlstore.workspace.tokens.credentials import Credential
from mlflow_amlstore.workspace.tracking_uri import REMOTE, REMOTE_PLAIN

_PAGE = 1000
_API = "/api/2.0/mlflow"
_PATIENCE_S = 30.0  # nothing is lost yet, and it may be a slip of the pen


@dataclass(frozen=True)
class RemoteWorkspace:
    """A workspace behind a service. Can be pickled, and copied to other processes, as its connection can."""

    connection: Connection
    name: str
    workspace_id: str
    subscription_id: str
    resource_group: str
    location: str

    def experiments(self) -> Iterator[ExperimentRecord]:
        """The active experiments. Raises what `Connection.request` does."""
        for message in self._all_pages("POST", "experiments/search", "experiments"):
            yield ExperimentRecord(
                experiment_id=message["experiment_id"],
                name=message["name"],
                created_ms=message["creation_time"],
                updated_ms=message["last_update_time"],
                deleted_ms=None,
                artifact_location=self._elsewhere(message.get("artifact_location", "")),
                tags=_by_key(message.get("tags")),
            )

    def models(self) -> Iterator[ModelRecord]:
        """The registered models. Raises what `Connection.request` does."""
        for message in self._all_pages("GET", "registered-models/search", "registered_models"):
            yield ModelRecord(
                name=message["name"],
                created_ms=message["creation_timestamp"],
                updated_ms=message["last_updated_timestamp"],
                description=message.get("description"),
                deployment_job_id=message.get("deployment_job_id"),
                tags=_by_key(message.get("tags")),
                aliases={item["alias"]: int(item["version"]) for item in message.get("aliases") or ()},
                latest_versions=[_version(item) for item in message.get("latest_versions") or ()],
            )

    def _all_pages(self, method: str, route: str, field: str) -> Iterator[dict[str, Any]]:
        path, token = f"{self.connection.mlflow_path}{_API}/{route}", None
        while True:
            given = {"max_results": _PAGE, "page_token": token}
            if method == "GET":
                answer = self.connection.request(method, path, params=given)
            else:
                answer = self.connection.request(method, path, json=given)
            yield from answer.get(field) or ()
            token = answer.get("next_page_token")
            if not token:
                return

    def _elsewhere(self, location: str) -> str | None:
        return None if location.startswith(f"{self.connection.root}/") else location or None


def open_service(service_url: str, credential: Credential | None = None) -> RemoteWorkspace:
    """Ask a service which workspace it has; no credential is needed or used for that.

    Raises ServiceUnreachable, ServiceError, InvalidValue for what is no service's address.
    """
    service_url = service_url_of(service_url)
    try:
        patience = Patience(f"The workspace service {service_url}", _PATIENCE_S)
        facts = ServiceCall("GET", service_url, "/discovery", patience=patience).send(None)
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
    except BearerRefused as error:
        raise ServiceUnreachable(service_url, "what answers there wants a login to say what it is") from error


def remote_workspace_of(uri: str) -> RemoteWorkspace:
    """The workspace that a remote tracking URI names, without asking anybody: not all tokens may ask what it is.

    Raises TrackingUriInvalid.
    """
    connection = connection_of(uri)
    _, _, subscription, _, group, *_, name = unquote(connection.workspace_path).split("/")
    return RemoteWorkspace(connection, name, "", subscription, group, "")


def _root_at(service_url: str, told: str) -> str:
    """The workspace's root at the address that was asked: whatever host the answer names, no token goes there."""
    scheme, _, host = service_url.partition("://")
    return f"{REMOTE if scheme == 'https' else REMOTE_PLAIN}://{host}{urlsplit(told).path}"


def _by_key(items: list[dict[str, str]] | None) -> dict[str, str]:
    return {item["key"]: item.get("value", "") for item in items or ()}


def _version(message: dict[str, Any]) -> ModelVersionRecord:
    return ModelVersionRecord(
        name=message["name"],
        version=int(message["version"]),
        created_ms=message["creation_timestamp"],
        updated_ms=message["last_updated_timestamp"],
        description=message.get("description"),
        user_id=message.get("user_id"),
        stage=message["current_stage"],
        source=message["source"],
        storage_location=message["source"],
        run_id=message.get("run_id"),
        run_link=message.get("run_link"),
        status=message["status"],
        status_message=message.get("status_message"),
        model_id=message.get("model_id"),
        tags=_by_key(message.get("tags")),
        aliases=list(message.get("aliases") or ()),
    )
