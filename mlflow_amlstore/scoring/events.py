"""What a scoring process tells whoever started it: JSON lines on a descriptor, and sentences in its log."""

import logging
import os
import time
from typing import Any

import msgspec

TOLD = 3
"""The exit code of a process that has told itself why it failed."""
_log = logging.getLogger(__name__)


class Events:
    """Lines such as `{"event": "healthy", "time": 1767225600.5, "workers": 2}`; any process of ours writes them.

    `loading`, `versions_differ` (of a package, trained with another), `loaded`, `healthy` (all workers answer),
    `worker_died`, `worker_back`, `loader_died`, `draining`, `stopped`; and `failed`, with `code`, `message` and
    `traceback`.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def tell(self, event: str, **about: Any) -> None:
        """Write an event, whole; whoever doesn't listen any more isn't told."""
        level = {"failed": logging.ERROR, "worker_died": logging.WARNING, "versions_differ": logging.WARNING}
        said = " ".join(f"{name}={value!s}" for name, value in about.items() if name != "traceback")
        trace = about.get("traceback")
        _log.log(level.get(event, logging.INFO), "%s %s%s", event, said, f"\n{trace}" if trace else "")
        if self._descriptor is None:
            return
        line = memoryview(msgspec.json.encode({"event": event, "time": time.time(), **about}) + b"\n")
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            self._descriptor = None
