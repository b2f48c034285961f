"""`amlstore studio [DIR]`."""

import time
from contextlib import closing
from pathlib import Path

import click

from mlflow_amlstore.cli.open import open_in_browser, portal_of, sign_in_link
from mlflow_amlstore.cli.serve import announced, check_extra, logging_at, open_to_serve, with_studio
from mlflow_amlstore.client.tokens.stored_keys import service_of_folder
from mlflow_amlstore.errors import ConfigNotFound, InvalidValue
from mlflow_amlstore.workspace.config_json import WorkspaceConfig, config_of, find_config

DEFAULT_PORT = 5481
_EXTRA = "uvicorn httptools starlette msgspec prometheus_client jwt cryptography jinja2".split()
_LOOPBACK = "127.0.0.1"


@click.command("studio")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--port", type=click.IntRange(0, 65_535), help=f"Port to listen on. Default: {DEFAULT_PORT}, or any that is free."
)
@click.option("--no-open", is_flag=True, help="Print the link, and open no browser.")
def command(folder: Path | None, port: int | None, no_open: bool) -> None:
    """Open the workspace in DIR in the browser, until Ctrl+C.

    Without DIR it's the one that config.json names. An empty folder becomes a workspace; one that doesn't exist is
    refused. Where config.json names a service, that service's Studio is opened, and of Azure ML its portal. The link
    that is printed signs in once, within a minute; `amlstore open` gives another. A workspace that this user may only
    read is shown, and nothing in it can be changed.
    """
    config = _config(folder)
    if config is not None and config.folder is None:
        link = portal_of(config) if config.service_url is None else sign_in_link(config.service_url, "/")
        _show(link, no_open=no_open)
        return
    check_extra("`amlstore studio`", _EXTRA, "studio")
    opened, workspace_name = open_to_serve(folder)
    if config is None:
        click.echo(f"Made a workspace in {opened.folder}", err=True)
    with closing(opened):
        running = service_of_folder(opened.folder)
        if running is not None and port is None:
            click.echo(f"Studio runs already on {opened.folder}", err=True)
            _show(sign_in_link(running, "/"), no_open=no_open)
            return
        from mlflow_amlstore.service import server  # slow to import, and the extra may be missing
        from mlflow_amlstore.service.access import Caller, Role, TokenUse
        from mlflow_amlstore.service.app import Settings
        from mlflow_amlstore.service.auth import Tokens
        from mlflow_amlstore.service.secret import LOCAL_KEY_ID, local_key, service_secret

        with closing(_listening(port)) as listening, logging_at("warning"):
            service_url = f"http://{_LOOPBACK}:{server.port_of(listening)}"
            secret = service_secret(opened.folder, must_last=False)
            settings = Settings(service_url, workspace_name, frozenset({"localhost", _LOOPBACK, "::1"}), secret)

            def tell() -> None:
                local = Caller(LOCAL_KEY_ID, Role.OWNER, int(time.time()), TokenUse.ACCESS)
                token = Tokens(opened.records, secret, settings.token_lifetime_s).sign_in_token(local)
                _show(f"{service_url}/sign-in?token={token.text}", no_open=no_open)
                click.echo(f"Workspace: {opened.folder}. Press Ctrl+C to end.", err=True)

            with announced({service_url}, local_key(secret), opened.folder):
                server.run(with_studio(opened)(opened.records, settings), listening, started=tell)


def _config(folder: Path | None) -> WorkspaceConfig | None:
    if folder is not None and not folder.exists():
        way_out = f"`amlstore init {folder}` makes a workspace there, or make the folder first"
        raise InvalidValue("DIR", str(folder), f"there is no such folder; {way_out}, or correct the path")
    if folder is not None and folder.is_file() and folder.suffix != ".json":
        raise InvalidValue("DIR", str(folder), "this is a file; give the workspace's folder, or a config.json")
    try:
        return find_config() if folder is None else config_of(folder)
    except ConfigNotFound:
        return None  # an empty folder, perhaps


def _listening(port: int | None):  # type: ignore[no-untyped-def]  # a socket, of a module that isn't imported yet
    from mlflow_amlstore.service import server

    if port is not None:
        return server.bind(_LOOPBACK, port)
    try:
        return server.bind(_LOOPBACK, DEFAULT_PORT)
    except InvalidValue:
        return server.bind(_LOOPBACK, 0)


def _show(link: str, *, no_open: bool) -> None:
    click.echo(link)  # which click flushes, into a pipe, too
    if not no_open:
        open_in_browser(link)
