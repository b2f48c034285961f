"""MLflow's way of calling a REST server, sent over a workspace service's connection.

MLflow's stores name an endpoint by its protobuf message; the endpoint's path and method stand in MLflow's own tables.
"""

import json
from typing import Any
from urllib.parse import parse_qsl

from mlflow.environment_variables import (
    MLFLOW_TRACKING_CLIENT_CERT_PATH,
    MLFLOW_TRACKING_INSECURE_TLS,
    MLFLOW_TRACKING_SERVER_CERT_PATH,
)
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.plugin.as_errors import as_mlflow_errors


class HostCredentials:
    """MLflow's `get_host_creds`, for code of MLflow's that makes a request itself: a living token each time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self) -> MlflowHostCreds:
        with as_mlflow_errors():
            token = self._connection.token()
        return MlflowHostCreds(
            host=self._connection.service_url + self._connection.mlflow_path,
            token=token,
            ignore_tls_verification=MLFLOW_TRACKING_INSECURE_TLS.get(),
            server_cert_path=MLFLOW_TRACKING_SERVER_CERT_PATH.get(),
            client_cert_path=MLFLOW_TRACKING_CLIENT_CERT_PATH.get(),
        )


def call(connection: Connection, method: str, endpoint: str, given: dict[str, Any] | None = None) -> Any:
    """Call an endpoint (`/api/2.0/mlflow/…`) with its fields and return the JSON. Raises MlflowException.

    A field that is None isn't sent, as MLflow's own client doesn't.
    """
    path, _, query = endpoint.partition("?")
    if given is not None:
        given = {name: value for name, value in given.items() if value is not None}
    with as_mlflow_errors():
        if method == "GET" or query:
            return connection.request(
                method, connection.mlflow_path + path, params={**dict(parse_qsl(query)), **(given or {})}
            )
        return connection.request(method, connection.mlflow_path + path, json=given)


class OnConnection:
    """What both of MLflow's REST stores are here: calls over one connection."""

    connection: Connection

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.connection.root!r})"

    @property
    def supports_workspaces(self) -> bool:
        """Whether the server has MLflow's own kind of workspaces: a service has one workspace of ours."""
        return False

    def _call_proto(self, method: str, endpoint: str, json_text: str | None, answer: Any) -> Any:
        """Call an endpoint with MLflow's JSON text and parse what it answers into a protobuf message, the result."""
        if hasattr(self, "_validate_workspace_support_if_specified"):  # since MLflow 3.10
            self._validate_workspace_support_if_specified()
        given = json.loads(json_text) if json_text else None
        parse_dict(js_dict=call(self.connection, method, endpoint, given), message=answer)
        return answer
