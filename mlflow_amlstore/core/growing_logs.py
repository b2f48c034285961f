"""A run's logs as bytes, while it goes on and afterwards."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunStatus

if TYPE_CHECKING:
    from mlflow_amlstore.core.run import Run

_OF_PREPARATION = ("azureml-logs/65_job_prep", "azureml-logs/20_image_build_log.txt")  # in the order they begin
_OF_SCRIPT = ("user_logs/std_log", "azureml-logs/70_driver_log")  # its name today, and its older one
_OF_FIRST_RANK = ("user_logs/std_log_process_0.txt", "azureml-logs/70_driver_log_0.txt")
_LOOKED_EVERY_S, _ASKED_EVERY_S = 0.05, 0.2  # in a folder, and of a service
_CHUNK_BYTES = 64 * 1024


def is_of_preparation(path: str) -> bool:
    """Whether a log tells of what came before a run's script."""
    return path.startswith(_OF_PREPARATION)


class GrowingLogs:
    """The logs that are shown of a run: those of its preparation, then its script's output.

    Of several processes it is the first one's output. A run that has none of these shows all its logs; with `path`,
    that file of the run alone.
    """

    def __init__(self, run: "Run", path: str | None = None) -> None:
        self._run, self._path = run, path
        self._read_bytes: dict[str, int] = {}

    def paths(self) -> list[str]:
        """The logs that there are by now, in their order."""
        if self._path is not None:
            return [self._path] if self._run._records.files.find(self._run._container, self._path) else []
        return _shown(self._run._log_files())

    def new(self) -> Iterator[tuple[str, bytes]]:
        """Yield what has come since the last call, each with its log's path. A new log's first bytes may be none."""
        for path in self.paths():
            if path not in self._read_bytes:
                self._read_bytes[path] = 0
                yield path, b""
            for chunk in self._rest_of(path):
                self._read_bytes[path] += len(chunk)
                yield path, chunk

    def until_its_end(self) -> Iterator[tuple[str, bytes]]:
        """Yield what comes until the run has ended, as `new` does."""
        while True:
            has_ended = RunStatus(self._run.get_status()) in ENDED  # asked first: nothing is written afterwards
            yield from self.new()
            if has_ended:
                return
            _pause(self._run)

    def end_of(self, path: str, size_bytes: int) -> bytes:
        """The last bytes of a log; none where it isn't there."""
        record = self._run._records.files.find(self._run._container, path)
        return b"" if record is None else self._part(path, max(0, record.size_bytes - size_bytes), size_bytes)

    def _rest_of(self, path: str) -> Iterator[bytes]:
        while chunk := self._part(path, self._read_bytes[path], _CHUNK_BYTES):
            yield chunk

    def _part(self, path: str, begin: int, most_bytes: int) -> bytes:
        with suppress(NotFound):
            return self._run._records.files.read_part(self._run._container, path, begin, most_bytes)
        return b""


def wait_for_end(run: "Run") -> None:
    """Return when the run has ended."""
    while RunStatus(run.get_status()) not in ENDED:
        _pause(run)


def print_until_its_end(run: "Run") -> None:
    """Print where the run is seen, its logs as they grow, and when it has ended a summary, in the SDK's words."""
    where = f"RunId: {run.id}\nWeb View: {run.get_portal_url()}\n"
    _print(where)
    headed = ""
    for path, chunk in GrowingLogs(run).until_its_end():
        if path != headed:
            headed = path
            _print(f"\nStreaming {path}\n{'=' * (len(path) + 10)}\n\n")
        _write(chunk)
    _print(f"\nExecution Summary\n=================\n{where}")


def _pause(run: "Run") -> None:
    time.sleep(_ASKED_EVERY_S if run._experiment.workspace.path is None else _LOOKED_EVERY_S)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _write(chunk: bytes) -> None:
    """Write a log's bytes as they are, where standard output takes bytes."""
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:  # a notebook's
        sys.stdout.write(chunk.decode(errors="replace"))
    else:
        sys.stdout.flush()
        raw.write(chunk)
    sys.stdout.flush()


def _shown(logs: list[str]) -> list[str]:
    of_preparation = [path for name in _OF_PREPARATION for path in sorted(logs) if path.startswith(name)]
    named_as_today, named_as_before = ([path for path in logs if path.startswith(name)] for name in _OF_SCRIPT)
    of_script = named_as_today or named_as_before
    of_script = [path for path in of_script if path in _OF_FIRST_RANK] or of_script
    return of_preparation + sorted(of_script) or logs
