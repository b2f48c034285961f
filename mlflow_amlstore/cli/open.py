"""`amlstore open [RUN]`."""

import html
import re
import webbrowser
from pathlib import Path
from urllib.parse import quote

import click

from mlflow_amlstore.cli.run_fields import find_run
from mlflow_amlstore.cli.workspace_option import open_records, url_option, workspace_option
from mlflow_amlstore.client.http.service_call import BearerRefused, ServiceCall
from mlflow_amlstore.client.tokens.credentials import find_credential, token_of
from mlflow_amlstore.client.tokens.stored_keys import service_of_folder, state_folder, write_for_this_user
from mlflow_amlstore.errors import InvalidState, NotFound, ServiceError, ServiceUnreachable, TokenRefused
from mlflow_amlstore.workspace.config_json import WorkspaceConfig, config_of, find_config
from mlflow_amlstore.workspace.tracking_uri import workspace_path

_EMBEDDED_ADDRESS = re.compile(r"amlstore://(?P<folder>/.*?)/?#/(?P<path>.*)")
_PORTAL = "https://ml.azure.com"


@click.command("open")
@click.argument("run", metavar="[RUN]", required=False)
@url_option
@workspace_option
@click.option("--no-open", is_flag=True, help="Print the link, and open no browser.")
def command(run: str | None, url: str | None, workspace: Path | None, no_open: bool) -> None:
    """Open a page of the workspace's Studio: its first, or that of RUN.

    RUN is a run's id or its beginning, or an address as `run.get_portal_url()` gives it. The link that is printed signs
    in once, within a minute.
    """
    path = "/"
    if run is not None:
        address = _EMBEDDED_ADDRESS.fullmatch(run)
        if address is not None:
            workspace, run = workspace or Path(address["folder"]), address["path"].rpartition("/runs/")[2]
        found = find_run(open_records(workspace, url), run.rpartition("/")[2])
        path = f"/runs/{quote(found.info.run_id, safe='')}"
    link = sign_in_link(url, path) if url is not None else _link(workspace, path)
    click.echo(link)
    if not no_open:
        open_in_browser(link)


def sign_in_link(service_url: str, to: str) -> str:
    """A link that signs in to a service's Studio once and leads to a page.

    Raises LoginNeeded where this machine has no key of the service, NotFound where it has no Studio.
    """
    token = token_of(find_credential(service_url)).token
    try:
        answer = ServiceCall("POST", service_url, "/sign-in/links", {"to": to}).send(token)
    except BearerRefused as refused:
        raise TokenRefused(refused.problem) from None
    except ServiceError as error:
        if error.http_status == 404:
            hint = "It runs without the extra: pip install 'mlflow-amlstore[studio]' there"
            raise NotFound("Studio of the service", service_url, hint) from error
        raise
    try:
        return f"{service_url}{answer['path']}"
    except (KeyError, TypeError) as error:
        raise ServiceUnreachable(service_url, "it answered without a link") from error


def portal_of(config: WorkspaceConfig) -> str:
    """The address of a workspace of Azure ML in its portal."""
    names = config.subscription_id or "", config.resource_group or "", config.workspace_name or ""
    return f"{_PORTAL}/?wsid={workspace_path(*names)}"


def open_in_browser(link: str) -> None:
    """Open a link in the user's browser, by a file that this user alone can read: the browser's command line, which
    every user of the machine sees, must not have the link in it."""
    file = state_folder() / "open.html"
    shown = html.escape(link, quote=True)
    refresh = f'<meta http-equiv="refresh" content="0; url={shown}">'
    page = f'<!doctype html><meta charset="utf-8">{refresh}<title>Studio</title>'
    write_for_this_user(file, page)
    webbrowser.open(file.as_uri())


def _link(workspace: Path | None, to: str) -> str:
    config = find_config() if workspace is None else config_of(workspace)
    if config.service_url is not None:
        return sign_in_link(config.service_url, to)
    if config.folder is None:
        return portal_of(config)
    running = service_of_folder(config.folder)
    if running is None:
        raise InvalidState(f"No Studio runs on {config.folder}; `amlstore studio {config.folder}` starts one")
    return sign_in_link(running, to)
