"""`amlstore login URL`."""

import sys

import click

from mlflow_amlstore.client.http.backoff import Backoff
from mlflow_amlstore.client.http.service_call import ServiceCall
from mlflow_amlstore.client.tokens.credentials import KeyCredential
from mlflow_amlstore.client.tokens.stored_keys import save_key
from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.workspace.service_url import service_url_of

_RETRY_FOR_S = 5.0  # somebody is waiting


@click.command("login")
@click.argument("url")
def command(url: str) -> None:
    """Keep a key for the service at URL on this machine, so that tracking URIs need no token.

    Asks for the key, or reads it from standard input; the service's owner makes one with `amlstore keys create`.
    """
    service_url = service_url_of(url)
    backoff = Backoff(f"The workspace service {service_url}", _RETRY_FOR_S)
    workspace = ServiceCall("GET", service_url, "/discovery", backoff=backoff).send(None)["workspaceName"]
    key = click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not key.strip():
        raise InvalidValue("key", "", "must be one that `amlstore keys create` printed")
    KeyCredential(service_url, key.strip()).get_token()
    place = save_key(service_url, key.strip())
    click.echo(f"Logged in to the workspace {workspace} at {service_url}; the key is in {place}")
