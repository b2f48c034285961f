"""`amlstore logout URL`."""

import click

from mlflow_amlstore.client.tokens.stored_keys import forget_key
from mlflow_amlstore.workspace.service_url import service_url_of


@click.command("logout")
@click.argument("url")
def command(url: str) -> None:
    """Forget the key for the service at URL. It stays good: `amlstore keys revoke` ends it."""
    service_url = service_url_of(url)
    had = forget_key(service_url)
    click.echo(f"Logged out of {service_url}" if had else f"There was no key for {service_url}")
