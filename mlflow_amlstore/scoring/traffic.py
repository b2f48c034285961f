"""Which of an endpoint's deployments answers a request that came on the socket that they share.

Whoever runs the deployments replaces `traffic.json` whole:

    {"serving": {"1": {"percent": 90, "socket": "/…/1.sock", "name": "blue"}, "2": {"percent": 10, "socket": "…"}}}

A deployment accepts on the shared socket while its percent is over 0. What it took by then it goes on taking, and has
the others answer by their own sockets, so a switch loses nothing. A prediction changes nothing, so a request that met a
connection just being closed is sent again on a new one; for that its body is kept, within the limit of bodies.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mlflow_amlstore.errors import DeploymentUnreachable, NotFound, ServiceBusy

DEPLOYMENT_HEADER = b"azureml-model-deployment"
"""In a request the deployment that is meant, by number or name; in an answer the one that gave it."""
LOOKED_EVERY_S = 0.1
_ANSWERED_WITHIN_S = 3600.0  # the other deployment has its own limit, which may be as long as Azure ML's
_KEPT_S = 30.0  # less than the other keeps a connection that isn't used
_KEPT_CONNECTIONS = 32
_HEAD_BYTES = 65_536
_OF_ONE_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
_NOT_SENT = _OF_ONE_CONNECTION | {b"content-length", b"expect", DEPLOYMENT_HEADER}
_NOT_ANSWERED = _OF_ONE_CONNECTION | {b"date"}  # the server writes its own
_log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


class Serving(msgspec.Struct, frozen=True):
    """One deployment in `traffic.json`."""

    percent: float
    socket: str
    name: str = ""


class _File(msgspec.Struct, frozen=True):
    serving: dict[str, Serving]


class Traffic:
    """A worker's view of `traffic.json`, as it was when `look` was called last."""

    def __init__(self, path: Path, number: int) -> None:
        self._path, self._number = path, str(number)
        self._seen: tuple[int, int, int] | None = None
        self._others: dict[str, Other] = {}
        self._serving: dict[str, Serving] = {}
        self._shares: tuple[list[str], list[float]] | None = None

    def elsewhere(self, headers: Mapping[bytes, bytes]) -> "Other | None":
        """The deployment that answers a request; None where it is this one. Raises NotFound, ServiceBusy."""
        asked = headers.get(DEPLOYMENT_HEADER)
        if asked is not None:
            return self._others.get(self._named(asked.decode("latin-1").strip()))
        if self._shares is None:
            return None
        numbers, percents = self._shares
        if not numbers:
            raise ServiceBusy("no deployment of this endpoint takes requests")
        return self._others.get(random.choices(numbers, percents)[0])

    def _named(self, asked: str) -> str:
        for number, one in self._serving.items():
            if asked and asked in (number, one.name):
                return number
        known = ", ".join(f"{number} ({one.name})" if one.name else number for number, one in self._serving.items())
        raise NotFound("deployment", asked, f"This endpoint has {known or 'none that serves'}")

    def look(self) -> bool:
        """Read the file if it was replaced. Returns whether this deployment accepts on the shared socket."""
        self._read()
        mine = self._serving.get(self._number)
        return mine is not None and mine.percent > 0

    def _read(self) -> None:
        try:
            now = self._path.stat()
            seen = (now.st_mtime_ns, now.st_ino, now.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            serving = msgspec.json.decode(self._path.read_bytes(), type=_File).serving
        except FileNotFoundError:
            return  # it isn't there yet
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s can't be used, so what it said before still holds: %s", self._path, error)
            return
        others = {number: one for number, one in serving.items() if number != self._number}
        for number in [number for number in self._others if others.get(number) != self._serving.get(number)]:
            self._others.pop(number).close()
        for number, one in others.items():
            self._others.setdefault(number, Other(number, one.socket))
        self._serving = serving
        shares = {number: one.percent for number, one in serving.items() if one.percent > 0}
        is_alone = list(shares) == [self._number]
        self._shares = None if is_alone else (list(shares), list(shares.values()))


class Other:
    """Another deployment, asked by its own socket."""

    def __init__(self, number: str, socket: str) -> None:
        self._number, self._socket = number, socket
        self._kept: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._is_closed = False

    async def ask(self, scope: Mapping[str, Any], body: bytes) -> tuple[int, Headers, bytes]:
        """Send a request there: its answer's status, headers and body. Raises ServiceBusy, DeploymentUnreachable."""
        dropped = _NOT_SENT | _listed(scope["headers"])
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        lines = [f"{scope['method']} ".encode() + target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in scope["headers"] if name not in dropped]
        lines.append(b"content-length: " + str(len(body)).encode())
        request = b"\r\n".join([*lines, b"", b""]) + body
        try:
            return await asyncio.wait_for(self._sent(request), _ANSWERED_WITHIN_S)
        except asyncio.TimeoutError:
            raise DeploymentUnreachable(self._number, f"not within {_ANSWERED_WITHIN_S:.0f} s") from None

    async def _sent(self, request: bytes) -> tuple[int, Headers, bytes]:
        while True:
            kept = self._taken()
            if kept is None:
                try:
                    reader, writer = await asyncio.open_unix_connection(self._socket, limit=_HEAD_BYTES)
                except OSError as error:
                    raise ServiceBusy(f"its deployment {self._number} isn't there ({error.strerror})") from error
            else:
                reader, writer = kept
            is_whole = False
            try:
                writer.write(request)
                with suppress(OSError):  # it may have answered before it closed
                    await writer.drain()
                answer, is_whole = await _answer(reader)
                if is_whole and not self._is_closed and len(self._kept) < _KEPT_CONNECTIONS:
                    self._kept.append((asyncio.get_running_loop().time(), reader, writer))
                else:
                    is_whole = False
                return answer
            except asyncio.IncompleteReadError as error:
                if kept is None or error.partial:
                    raise DeploymentUnreachable(self._number, "it broke off the connection") from error
            except (OSError, ValueError, asyncio.LimitOverrunError) as error:
                if kept is None or not isinstance(error, OSError):
                    raise DeploymentUnreachable(self._number, str(error) or type(error).__name__) from error
            finally:
                if not is_whole:
                    writer.close()

    def _taken(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        now = asyncio.get_running_loop().time()
        while self._kept:
            since, reader, writer = self._kept.pop()
            if now - since < _KEPT_S and not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        """Keep no connection any more; what was asked is still answered."""
        self._is_closed = True
        while self._kept:
            self._kept.pop()[2].close()


def _listed(headers: Headers) -> set[bytes]:
    """The headers that a `Connection` header names: they are of this connection alone."""
    return {
        one.strip().lower() for name, value in headers if name.lower() == b"connection" for one in value.split(b",")
    }


async def _answer(reader: asyncio.StreamReader) -> tuple[tuple[int, Headers, bytes], bool]:
    """An answer, and whether its connection takes another request. Our server always says how long a body is."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    headers: Headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    status = int(first.split(b" ", 2)[1])
    length = dict(headers).get(b"content-length")
    if length is None:
        raise ValueError("its answer says no length")
    body = await reader.readexactly(int(length))
    listed = _listed(headers)
    kept = [(name, value) for name, value in headers if name not in _NOT_ANSWERED and name not in listed]
    return (status, kept, body), b"close" not in listed
