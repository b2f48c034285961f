"""Resolves `*.localhost` in every Python that is started with this folder on PYTHONPATH, which not every system does.

Azure's own hosts aren't there at once: a system without a network may look for them for minutes.
"""

import socket
from typing import Any

_resolve = socket.getaddrinfo


def _resolved(host: Any, *arguments: Any, **more: Any) -> Any:
    if str(host).endswith(".azure.com"):
        raise socket.gaierror(socket.EAI_NONAME, f"{host} isn't here")
    return _resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **more)


socket.getaddrinfo = _resolved
