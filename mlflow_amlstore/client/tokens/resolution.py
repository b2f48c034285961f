"""Which source a workspace's tokens come from, in a process that may have been given several."""

import os
from dataclasses import replace

from mlflow_amlstore.client.tokens.clouds import CLOUDS, Cloud, cloud_of_host
from mlflow_amlstore.client.tokens.credentials import Credential, find_credential
from mlflow_amlstore.client.tokens.run_tokens import run_tokens, token_variable
from mlflow_amlstore.client.tokens.service_tokens import ServiceTokens
from mlflow_amlstore.client.tokens.sign_in import SignIn
from mlflow_amlstore.client.tokens.source import TokenSource
from mlflow_amlstore.errors import LoginNeeded
from mlflow_amlstore.workspace.tracking_uri import TrackingUri


def resolve_source(uri: TrackingUri, credential: Credential | None, cloud: Cloud | None = None) -> TokenSource:
    """The source of tokens for a tracking URI.

    The first of these that there is: the URI's own token or the given credential, a submitted job's token, Azure
    sign-in if the host is Azure's, a key of the service. For the host of a custom cloud a key comes before sign-in.
    `cloud` is given for a workspace that Azure's resource manager named, whatever its host.
    """
    if cloud is not None:
        return SignIn(uri.service_url, cloud, credential)
    if uri.token is None and credential is None:
        of_run = run_tokens(uri, os.environ)
        if of_run is not None:
            return of_run
        variable = token_variable(uri, os.environ)
        if variable is not None:
            return ServiceTokens(replace(uri, token=os.environ[variable].strip()), None)
    if uri.token is None:
        of_host = cloud_of_host(uri.service_url)
        if of_host is not None and (of_host in CLOUDS or not _has_key(uri.service_url)):
            return SignIn(uri.service_url, of_host, credential)
    return ServiceTokens(uri, credential)


def _has_key(service_url: str) -> bool:
    """Whether this machine has a key: then a host that somebody declared a cloud is a service."""
    try:
        find_credential(service_url)
    except LoginNeeded:
        return False
    return True
