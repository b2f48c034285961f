"""Running the service: a socket, uvicorn on it, and an orderly end.

One process, since SQLite has one writer at a time.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.service import logs
from mlflow_amlstore.service.connection import GuardedProtocol

if TYPE_CHECKING:
    from mlflow_amlstore.service.tls import Certificate  # slow to import, and rarely needed

BACKLOG = 2048
KEEP_ALIVE_S = 75
SHUTDOWN_S = 10  # for what was accepted
_HARD_STOP_S = SHUTDOWN_S + 5  # for what doesn't even stop then, such as a disk that hangs
_SWITCH_S = 0.001  # Python's 0.005, several times over, is what a short request waits beside a long one
_CERTIFICATE_READ_EVERY_S = 3600.0
_stopping = threading.Event()


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 is any that is free. Raises InvalidValue for one that can't be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidValue("--host", host, f"must be an address of this machine ({error.strerror})") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two services have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        way_out = "stop what uses it, or choose another with --port (0 for any that is free)"
        raise InvalidValue("--port", port, f"can't be had on {host} ({error.strerror}); {way_out}") from error
    return listening


def port_of(listening: socket.socket) -> int:
    """The port that a socket listens on."""
    return int(listening.getsockname()[1])


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ip_address(listening.getsockname()[0]).is_loopback


def is_stopping() -> bool:
    """Whether the service finishes what it has accepted, so that what would never end has to."""
    return _stopping.is_set()


def run(
    app: ASGIApp,
    listening: socket.socket,
    *,
    certificate: "Certificate | None" = None,
    started: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was accepted; `started` is called when clients can come.

    A second signal ends the process at once, and loses nothing that was acknowledged.
    """
    allow_many_connections()
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=None if certificate is None else certificate.chain,
        ssl_keyfile=None if certificate is None else certificate.key,
    )
    _Server(config, certificate, started).run([listening])


def allow_many_connections() -> None:
    """Raise the limit of open files from the shell's, often 1024, to the most that this user may have."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit; macOS lies about its own
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, certificate: "Certificate | None", started: Callable[[], None]) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._certificate is not None:
            asyncio.get_running_loop().call_later(_CERTIFICATE_READ_EVERY_S, self._read_certificate_again)
        self._tell_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here. uvicorn raises them again when it's done, which would end the process before we are."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in good order at the first signal, at once at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        _stopping.set()
        watch = threading.Timer(_HARD_STOP_S, os._exit, [1])
        watch.daemon = True
        watch.start()

    def _read_certificate_again(self) -> None:
        """Take up a certificate that was renewed while the service runs; connections that are open keep theirs."""
        asyncio.get_running_loop().call_later(_CERTIFICATE_READ_EVERY_S, self._read_certificate_again)
        if self._certificate is None or self.config.ssl is None:
            return
        try:
            self._certificate.renew()
            self.config.ssl.load_cert_chain(self._certificate.chain, self._certificate.key)
        except Exception as error:  # the one that is loaded goes on serving
            logs.log_error("", error)
