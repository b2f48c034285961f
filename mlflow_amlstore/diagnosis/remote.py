"""What may be wrong with a workspace over the network, and what it can do: nothing is written to find out."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from mlflow_amlstore.client.azure_workspace import open_azure_workspace, permissions
from mlflow_amlstore.client.connection import Connection, connection_of
from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import ServiceCall
from mlflow_amlstore.client.logged_models.endpoints import has_endpoints
from mlflow_amlstore.client.remote_workspace import RemoteWorkspace, open_service
from mlflow_amlstore.client.tokens.clouds import cloud_of_host
from mlflow_amlstore.client.tokens.credentials import find_credential
from mlflow_amlstore.client.tokens.tracking_token import role_of
from mlflow_amlstore.diagnosis.finding import Finding
from mlflow_amlstore.errors import AmlStoreError, InvalidValue, NotFound
from mlflow_amlstore.workspace.config_json import WorkspaceConfig
from mlflow_amlstore.workspace.service_url import service_url_of

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
_SERVICE_PATIENCE_S = 5.0
_WRITES_RUNS = "Microsoft.MachineLearningServices/workspaces/experiments/runs/write"
_SEE_THE_END = "See the end of what was found"
_ROLE = "Ask the workspace's owner for the role 'AzureML Data Scientist'"


def examine_service(service_url: str) -> Iterator[Finding]:
    """Whether a service answers, whether this machine has a key for it, and what it can do."""
    found = _opened_service(service_url)
    if isinstance(found, Finding):
        yield found
    else:
        yield Finding("service", True, f"{service_url} answers: the workspace {found.name}")
    try:
        find_credential(service_url)
        yield Finding("credential", True, "a key is found")
    except AmlStoreError as error:
        remedy = f"Log in with `amlstore login {service_url}`, or set AMLSTORE_KEY"
        yield Finding("credential", False, str(error), remedy)
        return
    if isinstance(found, RemoteWorkspace):
        yield from _capabilities(found.connection)
        yield _role_in_token(found.connection)


def examine_azure(config: WorkspaceConfig) -> Iterator[Finding]:
    """Whether Azure ML has the workspace, lets this user in, and what it can do."""
    names = (config.subscription_id or "", config.resource_group or "", config.workspace_name or "")
    try:
        opened = open_azure_workspace(*names)
    except AmlStoreError as error:
        is_wrong = isinstance(error, NotFound | InvalidValue)
        yield Finding("Azure ML", False, str(error), f"Correct {config.file}" if is_wrong else _SEE_THE_END)
        return
    yield Finding("Azure ML", True, f"{opened.name} in {opened.location}, {opened.connection.service_url}")
    yield from _capabilities(opened.connection)
    yield _role_on_azure(opened.connection)


def examine_uri(uri: str) -> Iterator[Finding]:
    """Whether the workspace that a tracking URI names lets this user in, and what it can do."""
    try:
        connection = connection_of(uri)
        connection.token()
    except AmlStoreError as error:
        yield Finding(TRACKING_VARIABLE, False, str(error), _SEE_THE_END)
        return
    yield Finding(TRACKING_VARIABLE, True, connection.root)
    yield from _capabilities(connection)
    is_azures = cloud_of_host(connection.service_url) is not None
    yield _role_on_azure(connection) if is_azures else _role_in_token(connection)


def _opened_service(service_url: str) -> RemoteWorkspace | Finding:
    try:
        backoff = Backoff(f"The workspace service {service_url}", _SERVICE_PATIENCE_S)
        ServiceCall("GET", service_url_of(service_url), "/discovery", backoff=backoff).send(None)
        return open_service(service_url)
    except AmlStoreError as error:
        return Finding("service", False, str(error), "Check service_url, and that the service runs")


def _capabilities(connection: Connection) -> Iterator[Finding]:
    try:
        limits = connection.known_limits()
        has_models = has_endpoints(connection)
    except AmlStoreError as error:
        yield Finding("tracking", False, str(error), _SEE_THE_END)
        return
    if has_models:
        yield Finding("API level", True, "3.0")
    else:
        yield Finding("API level", True, "2.0: logged models are kept in the files of their runs")
    if limits is None:
        yield Finding("limits", True, "none")
    else:
        detail = (
            f"Azure ML's: {limits.params_per_run} params and {limits.tags_per_run} tags of a run, "
            f"{limits.tag_value_length} characters of a tag, files written once; the rest goes into the run's files"
        )
        yield Finding("limits", True, detail)


def _role_in_token(connection: Connection) -> Finding:
    try:
        role = role_of(connection.token())
    except AmlStoreError as error:
        return Finding("role", False, str(error), "Ask the service's owner for another key: `amlstore keys create`")
    if role == "reader":
        return Finding("role", False, "reader: can read, and log nothing", "Ask for a contributor's key")
    return Finding("role", True, role or "unknown")


def _role_on_azure(connection: Connection) -> Finding:
    try:
        allowed = permissions(connection)
    except AmlStoreError as error:
        return Finding("role", True, f"can read; whether it can log isn't known: {error}")
    if any(_allows(actions, not_actions) for actions, not_actions in allowed):
        return Finding("role", True, "can read and log")
    return Finding("role", False, "can read, and log nothing", _ROLE)


def _allows(actions: list[str], not_actions: list[str]) -> bool:
    wanted = _WRITES_RUNS.lower()

    def covers(pattern: str) -> bool:
        return fnmatchcase(wanted, re.sub(r"[\[\]?]", "", pattern).lower())

    return any(map(covers, actions)) and not any(map(covers, not_actions))
