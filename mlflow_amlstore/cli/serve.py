"""`amlstore serve [DIR]`."""

import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import click

from mlflow_amlstore.client.tokens.stored_keys import announce_service, state_folder, withdraw_service
from mlflow_amlstore.errors import ConfigInvalid, ConfigNotFound, ExtraMissing, InvalidValue, WorkspaceNotFound
from mlflow_amlstore.protocol.limits import AZURE
from mlflow_amlstore.workspace.config_json import config_of, find_config
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace, open_folder
from mlflow_amlstore.workspace.service_url import service_url_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mlflow_amlstore.service import logs
    from mlflow_amlstore.service.tls import Certificate

DEFAULT_PORT = 5480
_EXTRA = "uvicorn httptools starlette msgspec prometheus_client jwt cryptography".split()
_LEVELS = ("debug", "info", "warning", "error")
_WILDCARDS = ("0.0.0.0", "::")  # all addresses of this machine, and none that a client could use
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@click.command("serve")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. All: 0.0.0.0, with TLS.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0: any free one."
)
@click.option("--url", help="Where clients reach the service, if not at host and port: behind a proxy, say.")
@click.option("--tls", type=click.Choice(["self-signed"]), help="Use a development certificate made on this machine.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="A certificate and its chain (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key (PEM), where it's not in the same file.")
@click.option(
    "--token-lifetime",
    type=click.FloatRange(1, 86_400),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="How long a tracking URI is valid.",
)
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="Another name clients may use.")
@click.option("--parity", is_flag=True, help="Be as strict as Azure ML: --api-level 2.0 --limits azure.")
@click.option("--api-level", type=click.Choice(["2.0", "3.0"]), help="2.0: without the endpoints of MLflow 3.")
@click.option("--limits", type=click.Choice(["none", "azure"]), help="azure: take no more than it, search no better.")
@click.option(
    "--requests-per-second", type=click.FloatRange(min=1), metavar="N", help="Answer 429 to those beyond, as Azure may."
)
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
def command(
    folder: Path | None,
    host: str,
    port: int,
    url: str | None,
    tls: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_lifetime: float,
    allowed_hosts: tuple[str, ...],
    parity: bool,
    api_level: str | None,
    limits: str | None,
    requests_per_second: float | None,
    log_level: str,
) -> None:
    """Serve the workspace in DIR to other processes and machines, until Ctrl+C.

    Without DIR it's the one that config.json names. An empty folder, or one that doesn't exist, becomes a workspace.
    """
    check_extra("`amlstore serve`", _EXTRA)
    from mlflow_amlstore.service import server  # here, because the extra may be missing, and `--help` needs none of it

    if tls_cert is None and tls_key is not None:
        raise click.UsageError("--tls-key needs --tls-cert")
    if tls is not None and tls_cert is not None:
        raise click.UsageError("--tls makes a certificate; with --tls-cert there is one already")
    is_secure = tls is not None or tls_cert is not None

    with closing(server.bind(host, port)) as listening:
        if not is_secure and not server.is_loopback(listening):
            rule = "lets other machines in, so it needs TLS: `--tls self-signed`, or `--tls-cert FILE --tls-key FILE`"
            raise InvalidValue("--host", host, rule)
        own_urls = _own_urls("https" if is_secure else "http", host, server.port_of(listening))
        service_url = own_urls[0] if url is None else service_url_of(url)
        clients_names = (*map(_host_of, (service_url, *own_urls)), *(name.lower() for name in allowed_hosts))
        names = frozenset({*_LOOPBACK_NAMES, *clients_names})
        address = _Address(service_url, {service_url, *own_urls}, names)
        certificate = _certificate(sorted(names), tls_cert, tls_key) if is_secure else None
        opened, workspace_name = open_to_serve(folder)
        with closing(opened), logging_at(log_level):
            api_level, limits = api_level or ("2.0" if parity else "3.0"), limits or ("azure" if parity else "none")
            make_app = _app_maker(api_level, limits, requests_per_second)
            _serve(opened, workspace_name, listening, address, certificate, token_lifetime, make_app)


class _Address(NamedTuple):
    """Where clients reach the service, all URLs that it has, and every name that a request's Host may be."""

    service_url: str
    urls: set[str]
    allowed_hosts: frozenset[str]


def _serve(
    opened: EmbeddedWorkspace,
    workspace_name: str,
    listening: socket.socket,
    address: _Address,
    certificate: "Certificate | None",
    token_lifetime_s: float,
    make_app: "Callable[..., ASGIApp]",
) -> None:
    """Serve a workspace until a signal; print where it is once clients can come."""
    from mlflow_amlstore.service import server
    from mlflow_amlstore.service.addresses import tracking_root
    from mlflow_amlstore.service.app import Settings
    from mlflow_amlstore.service.auth import Tokens
    from mlflow_amlstore.service.secret import local_key, service_secret

    secret = service_secret(opened.folder)
    settings = Settings(
        service_url=address.service_url,
        workspace_name=workspace_name,
        allowed_hosts=address.allowed_hosts,
        secret=secret,
        token_lifetime_s=token_lifetime_s,
    )
    tracking_uri = tracking_root(address.service_url, workspace_name)
    if sys.stdout.isatty():  # a file or a log would keep a token for all who can read it
        token = Tokens(opened.records, secret, token_lifetime_s).shown_tracking_token()
        tracking_uri += f"?expires={token.expires}&token={token.text}"

    def tell() -> None:
        click.echo(f"Workspace: {opened.folder}")
        click.echo(f"Service: {address.service_url}")
        click.echo(f"Tracking URI: {tracking_uri}")
        if certificate is not None and certificate.ca is not None:
            _tell_how_to_trust(certificate.ca, address.service_url)

    with announced(address.urls, local_key(secret), opened.folder):
        server.run(make_app(opened.records, settings), listening, certificate=certificate, started=tell)


def _app_maker(api_level: str, limits: str, requests_per_s: float | None) -> "Callable[..., ASGIApp]":
    """What makes the application: `make_app`, or that of a strict service."""
    from mlflow_amlstore.service.app import make_app

    if (api_level, limits, requests_per_s) == ("3.0", "none", None):
        return with_studio() if find_spec("jinja2") else make_app
    from mlflow_amlstore.service.strict_app import make_strict_app
    from mlflow_amlstore.service.strictness import Strictness

    strictness = Strictness(
        has_logged_models=api_level != "2.0",
        limits=AZURE if limits == "azure" else None,
        requests_per_s=requests_per_s,
    )
    return partial(make_strict_app, strictness=strictness)


def with_studio(own: EmbeddedWorkspace | None = None) -> "Callable[..., ASGIApp]":
    """What makes the application that has Studio's pages, too. On a workspace of the user's own they start scripts."""
    from mlflow_amlstore import studio
    from mlflow_amlstore.service.app import ROUTES, make_app

    return partial(
        make_app,
        routes=(*ROUTES, *studio.ROUTES, *(studio.routes_of(own) if own else ())),
        error_page=studio.error_page,
    )


@contextmanager
def logging_at(level: str) -> Iterator[None]:
    """Write the service's log to stderr within the block."""
    from mlflow_amlstore.service import logs

    logs.start(cast("logs.Level", level))
    try:
        yield
    finally:
        logs.stop()


def check_extra(command: str, packages: Iterable[str], extra: str = "service") -> None:
    """Raise ExtraMissing where a package of a command's extra isn't installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ExtraMissing(command, package, extra)


def open_to_serve(folder: Path | None) -> tuple[EmbeddedWorkspace, str]:
    """The workspace to serve, and its name. An empty folder becomes one."""
    try:
        config = find_config() if folder is None else config_of(folder)
    except ConfigNotFound:
        place = (Path.cwd() if folder is None else folder).absolute()
        if not _holds_nothing(place):
            if folder is None:
                raise
            raise WorkspaceNotFound(str(place)) from None
        create_workspace(place)
        config = config_of(place)
    if config.folder is None:
        raise ConfigInvalid(str(config.file), "it names no embedded workspace, and only those can be served")
    opened = open_folder(config.folder, config.file)
    return opened, config.workspace_name or opened.folder.name


def _holds_nothing(place: Path) -> bool:
    return not place.exists() or (place.is_dir() and next(place.iterdir(), None) is None)


def _own_urls(scheme: str, host: str, port: int) -> list[str]:
    """Where the service can be reached without a proxy: by other machines first, where they can."""
    names = [socket.gethostname(), "127.0.0.1"] if host in _WILDCARDS else [host]
    return [service_url_of(f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}") for name in names]


def _host_of(service_url: str) -> str:
    return urlsplit(service_url).hostname or ""


def _certificate(names: list[str], chain: Path | None, key: Path | None) -> "Certificate":
    from mlflow_amlstore.service import tls  # slow to import, and rarely needed

    if chain is not None:
        return tls.given(chain, key or chain)
    return tls.self_signed(names, state_folder() / "tls")


def _tell_how_to_trust(ca: Path, service_url: str) -> None:
    click.echo(
        f"To trust its certificate, here or on a machine that {ca} is copied to:\n"
        f"  export MLFLOW_TRACKING_SERVER_CERT_PATH={ca}\n"
        f"  export REQUESTS_CA_BUNDLE={ca}\n"
        f"  curl --cacert {ca} {service_url}/health"
    )


@contextmanager
def announced(service_urls: set[str], key: str, folder: Path) -> Iterator[None]:
    """Let programs of this user on this machine find the key, for as long as the service runs."""
    told = []
    try:
        for url in service_urls:
            announce_service(url, key, folder)
            told.append(url)
    except OSError as error:
        click.echo(f"amlstore: programs on this machine can't find the key by themselves: {error}", err=True)
    try:
        yield
    finally:
        for url in told:
            with suppress(OSError):
                withdraw_service(url)
