"""`amlstore serve` that also writes down every request as it arrives, one JSON line each, to the file RECORDING names.

A request for /health/live?call=NAME says that what follows is sent for that call. The recorder is an ASGI middleware
around the real service: clients get the service's own answers, over its own TLS.
"""

import hashlib
import json
import os
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_amlstore.cli import main
from mlflow_amlstore.service import server

VARIABLE = "RECORDING"
_LONGEST_TEXT_BYTES = 64 * 1024
_HEADERS = (
    "accept", "authorization", "content-md5", "content-type", "idempotency-key", "if-match", "if-none-match", "range",
    "user-agent", "x-amlstore-offset", "x-amlstore-sha256", "x-mlflow-client-version", "x-ms-blob-content-md5",
    "x-ms-blob-type", "x-ms-range", "x-ms-version",
)  # fmt: skip


class Recorder:
    """Writes down requests, when their bodies are whole and before they are answered."""

    def __init__(self, service: ASGIApp, file: Path) -> None:
        self._service = service
        self._file = file.open("a", encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on to the service."""
        if scope["type"] != "http":
            await self._service(scope, receive, send)
            return
        body = bytearray()
        digest = hashlib.sha256()
        written = False
        size = 0

        async def read() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                chunk = message.get("body", b"")
                size += len(chunk)
                digest.update(chunk)
                body.extend(chunk[: max(0, _LONGEST_TEXT_BYTES - len(body))])
                if not message.get("more_body"):
                    write()
            return message

        async def answer(message: Message) -> None:
            write()  # where the body was of no interest to the service
            await send(message)

        def write() -> None:
            nonlocal written
            if not written:
                written = True
                self._write(scope, bytes(body), size, digest.hexdigest())

        await self._service(scope, read, answer)

    def _write(self, scope: Scope, body: bytes, size: int, sha256: str) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        is_text = "json" in headers.get("content-type", "") or "xml" in headers.get("content-type", "")
        line = {
            "method": scope["method"],
            "path": scope["raw_path"].decode().partition("?")[0],
            "query": scope["query_string"].decode(),
            "headers": {name: headers[name] for name in _HEADERS if name in headers},
            "body": body.decode() if is_text else {"bytes": size, "sha256": sha256} if size else "",
        }
        print(json.dumps(line, ensure_ascii=False), file=self._file, flush=True)


if __name__ == "__main__":
    run = server.run
    server.run = lambda app, *given, **named: run(Recorder(app, Path(os.environ[VARIABLE])), *given, **named)
    main()
