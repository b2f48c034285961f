"""The sockets that a deployment's workers answer on, and which process may be asked there without a key."""

import ipaddress
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from mlflow_amlstore.errors import InvalidValue

BACKLOG = 2048


class Doors(msgspec.Struct, frozen=True):
    """The endpoint's socket, which its deployments may share; this deployment's own; and who gets the shared requests.

    Without `traffic` this deployment answers on `public` from the start.
    """

    public: socket.socket
    own: socket.socket | None = None
    traffic: Path | None = None


def listen(host: str, port: int, descriptor: int | None) -> socket.socket:
    """The endpoint's socket: one that was inherited, or a new one. Raises InvalidValue."""
    if descriptor is not None:
        try:
            return socket.socket(fileno=descriptor)
        except OSError as error:
            raise InvalidValue("--socket-fd", descriptor, f"must be a socket ({error.strerror})") from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidValue("--port", port, f"can't be had on {host} ({error.strerror})") from error


def listen_at(path: Path) -> socket.socket:
    """A unix socket that this user alone can ask; one that a process left there is replaced. Raises InvalidValue."""
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidValue("--own-socket", str(path), f"can't be listened at ({error.strerror or error})") from error
    finally:
        os.umask(before)
    return listening


def is_of_this_machine_alone(listening: socket.socket) -> bool:
    """Whether no other machine reaches a socket."""
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return listening.family == socket.AF_UNIX
    address = ipaddress.ip_address(listening.getsockname()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
