"""Asking a deployment by its own socket, where this machine's host is let in without a key."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

_PATH = "/own/metrics"
_TIMEOUT_S = 2.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def metrics_of(own_socket: Path) -> dict[str, Any] | None:
    """What a deployment has answered so far, and in the last minute; None where it can't be asked."""
    connection = _Connection(own_socket)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        return told if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
