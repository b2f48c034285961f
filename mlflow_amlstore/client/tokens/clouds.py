"""Azure's clouds: the addresses of their resource managers and sign-in, and the host names of their workspaces.

Clouds have the names that Azure's own tools use. A workspace that is named without a host is looked for in the cloud
that AZUREML_CURRENT_CLOUD names, by default the public one. Any other name means a custom cloud: its addresses are in
the JSON document at ARM_CLOUD_METADATA_URL. Azure's clients read both variables in the same way.
"""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import ServiceCall
from mlflow_amlstore.errors import ConfigInvalid, InvalidValue
from mlflow_amlstore.workspace.redaction import redact
from mlflow_amlstore.workspace.service_url import service_url_of

CLOUD_VARIABLE = "AZUREML_CURRENT_CLOUD"
METADATA_VARIABLE = "ARM_CLOUD_METADATA_URL"
_METADATA_RETRY_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud. `resource_manager` and `login` are `https://HOST[:PORT]`."""

    name: str
    resource_manager: str
    login: str
    host_suffixes: tuple[str, ...] = ()
    studio: str = ""
    """Where people look at workspaces; empty where that isn't known."""

    @property
    def scope(self) -> str:
        """What a token is asked for; Azure ML's data plane takes the resource manager's."""
        return f"{self.resource_manager}/.default"


# https://learn.microsoft.com/azure/machine-learning/reference-machine-learning-cloud-parity and `az cloud list`
CLOUDS = (
    Cloud(
        "AzureCloud",
        "https://management.azure.com",
        "https://login.microsoftonline.com",
        (".azureml.ms",),
        "https://ml.azure.com",
    ),
    Cloud(
        "AzureChinaCloud",
        "https://management.chinacloudapi.cn",
        "https://login.chinacloudapi.cn",
        (".ml.azure.cn",),
        "https://studio.ml.azure.cn",
    ),
    Cloud(
        "AzureUSGovernment",
        "https://management.usgovcloudapi.net",
        "https://login.microsoftonline.us",
        (".ml.azure.us",),
        "https://ml.azure.us",
    ),
)


def current_cloud() -> Cloud:
    """The cloud that AZUREML_CURRENT_CLOUD names, or the public one.

    Raises InvalidValue for an unknown name without a document, ConfigInvalid for a document without the name,
    ServiceUnreachable where the document can't be read.
    """
    return cloud_named(os.environ.get(CLOUD_VARIABLE, "").strip() or CLOUDS[0].name)


def cloud_named(name: str) -> Cloud:
    """The cloud of a name. Raises as `current_cloud`."""
    known = next((cloud for cloud in CLOUDS if cloud.name.lower() == name.lower()), None)
    return known or _cloud_of_document(name)


def cloud_of_host(service_url: str) -> Cloud | None:
    """The cloud that a workspace's host belongs to, or None. Tokens of Azure's are sent to no other hosts.

    Private-link hosts end as the others of their cloud do. The one host of a custom cloud is that of its document.
    """
    host = urlsplit(service_url).hostname or ""
    for cloud in CLOUDS:
        if host.endswith(cloud.host_suffixes):
            return cloud
    document = os.environ.get(METADATA_VARIABLE, "")
    is_custom = os.environ.get(CLOUD_VARIABLE, "") not in ("", *(cloud.name for cloud in CLOUDS))
    if is_custom and document.partition("://")[2].partition("/")[0] == urlsplit(service_url).netloc:
        return current_cloud()
    return None


def _cloud_of_document(name: str) -> Cloud:
    address = os.environ.get(METADATA_VARIABLE, "")
    if not address:
        known = ", ".join(cloud.name for cloud in CLOUDS)
        raise InvalidValue(
            CLOUD_VARIABLE, name, f"must be one of {known}, or {METADATA_VARIABLE} must say where its document is"
        )
    try:
        parts = urlsplit(address)
        origin = service_url_of(f"{parts.scheme}://{parts.netloc}")
    except (InvalidValue, ValueError):
        raise InvalidValue(METADATA_VARIABLE, redact(address), "must be https://HOST/metadata/endpoints") from None
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    found = ServiceCall("GET", origin, target, backoff=Backoff(f"The cloud's {origin}", _METADATA_RETRY_FOR_S)).send(
        None
    )
    for entry in found if isinstance(found, list) else [found]:
        try:
            if entry["name"] == name:
                manager, login = entry["resourceManager"], entry["authentication"]["loginEndpoint"]
                return Cloud(name, service_url_of(manager.rstrip("/")), service_url_of(login.rstrip("/")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigInvalid(address.partition("?")[0], "it is no document of Azure's clouds") from error
    raise ConfigInvalid(address.partition("?")[0], f"it has no cloud {name!r}, which {CLOUD_VARIABLE} names")
