"""A file of a run that is sent while it is written, such as a log, by the storage protocol's append blobs."""

import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mlflow_amlstore.client.files.content_url import ContentUrl, call

_BLOCK_BYTES = 1024 * 1024
_SHARE = 4  # what comes waits so many times as long as the last block took, so that a script that prints much goes on
_SHORTEST_PAUSE_S = 0.1


class GrowingUpload:
    """One file on its way. `at` is how many of its bytes the service has."""

    def __init__(self, content: ContentUrl) -> None:
        self._content = content
        self.at = 0

    def begin(self) -> None:
        """Begin the file, in the place of one that is there."""
        call(self._content, "PUT", headers={"x-ms-blob-type": "AppendBlob", "x-amlstore-grows": "true"}, body=b"")
        self.at = 0

    def add(self, chunk: bytes) -> None:
        """Add bytes at its end. They are there once, however often they are sent."""
        position = {"x-ms-blob-condition-appendpos": str(self.at)}
        call(self._content, "PUT", "comp=appendblock", position, chunk)
        self.at += len(chunk)

    def seal(self, also: Sequence[str]) -> None:
        """End the file; it gets other names, too."""
        names = ",".join(quote(name, safe="/") for name in also)
        call(self._content, "PUT", "comp=seal", {"x-amlstore-also": names}, b"")


class RemoteGrowingFile:
    """Implements `common_store.CommonGrowingFile`: what is written goes into a local file, and from there on."""

    def __init__(self, upload: GrowingUpload, local: Path) -> None:
        self._upload, self._local = upload, local
        self._next_s = 0.0

    def write(self, chunk: bytes) -> None:
        with self._local.open("ab") as sink:
            sink.write(chunk)

    def show(self) -> int:
        """Send what has been written since; nothing right after the last time, so that a service isn't kept busy."""
        began_s = time.monotonic()
        if began_s >= self._next_s and self._send(_BLOCK_BYTES):
            ended_s = time.monotonic()
            self._next_s = ended_s + max(_SHORTEST_PAUSE_S, _SHARE * (ended_s - began_s))
        return self._upload.at

    def end(self, *, also: Sequence[str] = ()) -> None:
        while self._send(_BLOCK_BYTES):
            pass
        self._upload.seal(also)

    def _send(self, most_bytes: int) -> bool:
        with self._local.open("rb") as source:
            source.seek(self._upload.at)
            chunk = source.read(most_bytes)
        if chunk:
            self._upload.add(chunk)
        return bool(chunk)
