"""MLflow's model registry over a workspace service: MLflow's own REST client, on our connection."""

from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.rest_store import RestStore

from mlflow_amlstore.plugin.as_errors import as_mlflow_errors
from mlflow_amlstore.plugin.remote_calls import HostCredentials, call_proto
from mlflow_amlstore.workspace.connection import Connection, connection_of


def registry_store_of(store_uri: str) -> "RemoteRegistryStore":
    """The registry of the service that a tracking URI names. Takes no network."""
    with as_mlflow_errors():
        return RemoteRegistryStore(connection_of(store_uri))


class RemoteRegistryStore(RestStore):
    """A service's registered models. Safe across threads, fork and pickling."""

    def __init__(self, connection: Connection) -> None:
        """Takes no network."""
        super().__init__(HostCredentials(connection))
        self.connection = connection

    def __reduce__(self) -> tuple[type["RemoteRegistryStore"], tuple[Connection]]:
        return type(self), (self.connection,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.connection.root!r})"

    @property
    def supports_workspaces(self) -> bool:
        """Whether the server has MLflow's own kind of workspaces: a service has one workspace of ours."""
        return False

    def _call_endpoint(
        self, api: Any, json_body: str | None, call_all_endpoints: bool = False, extra_headers: Any = None
    ) -> Any:
        if hasattr(self, "_validate_workspace_support_if_specified"):  # since MLflow 3.10
            self._validate_workspace_support_if_specified()
        every = self._get_all_endpoints_from_method(api)
        *others, last = every if call_all_endpoints else [self._get_endpoint_from_method(api)]
        for endpoint, method in others:
            try:
                return call_proto(self.connection, method, endpoint, json_body, self._get_response_from_method(api))
            except MlflowException as error:
                if error.error_code != "ENDPOINT_NOT_FOUND":
                    raise
        endpoint, method = last
        return call_proto(self.connection, method, endpoint, json_body, self._get_response_from_method(api))

    def _call_webhook_endpoint(self, api: Any, json_body: str | None = None, webhook_id: str | None = None) -> Any:
        endpoint, method = self._get_webhook_endpoint_from_method(api)
        path = endpoint.format(webhook_id=webhook_id) if webhook_id else endpoint
        return call_proto(self.connection, method, path, json_body, self._get_response_from_method(api))

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: int) -> None:
        """Return at once: a version is READY when it is made."""
