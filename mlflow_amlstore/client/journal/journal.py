"""A run's journal: what its record has no endpoint or no room for, as entries in files of the run.

Each write is a file of its own, `.amlstore/journal/WRITER.FIRST-LAST.json`, with the entries of one writer (a process)
from number FIRST to LAST; nothing is ever written over, as Azure ML allows. Each sixteenth write has all of the sixteen
in it, each 256th all of the 256, so a journal of n writes is read from about 15·log₁₆ n files. A tag of the run says
that there is a journal (`journal.keeping`), which spares every other run the question.
"""

import json
import logging
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_amlstore.client.at_once import at_once
from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.connection_cache import ConnectionCache
from mlflow_amlstore.client.files.azureml_uri import parse_artifact_uri
from mlflow_amlstore.client.files.remote_files import JOURNAL_FOLDER as FOLDER
from mlflow_amlstore.client.files.remote_files import RemoteFiles, files_of
from mlflow_amlstore.client.run_calls import get_run
from mlflow_amlstore.errors import NotFound, NotSupported, TrackingUriInvalid

JOURNAL_TAG = "amlstore_journal"
VALUES_TAG = "amlstore_more"
"""A run that has it has more params or tags than its record shows (`values`)."""
YES = "yes"
_MERGED_EACH = 16
_READERS = 8
_NAME = re.compile(r"(?P<writer>[0-9a-f]+)\.(?P<first>\d+)-(?P<last>\d+)\.json")

_logger = logging.getLogger(__name__)

Entry = dict[str, Any]
"""What happened: its `kind`, the time `at_ms`, and what belongs to the kind."""


class _Part(NamedTuple):
    """One file: the entries of `writer` from write `first` to write `last`."""

    writer: str
    first: int
    last: int

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.writer}.{self.first:06}-{self.last:06}.json"


class RunJournal:
    """The journal of one run, in this process. Safe across threads. Get it from `journal_of`."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        """Takes no network."""
        self._connection, self.run_id = connection, run_id
        self._writer = secrets.token_hex(4)
        self._written: list[list[Entry]] = []
        self._read: dict[_Part, list[Entry]] = {}
        self._told: set[_Part] = set()  # which files are not whole
        self._files: RemoteFiles | None = None
        self._latest_ms = 0
        self._lock = threading.RLock()

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Add entries and return them with their times. They are durable on return.

        Their times are later than those of all entries that were read, even if another machine's clock is ahead.

        Raises what `Connection.request` and `RemoteFiles.upload` do.
        """
        with self._lock:
            at_ms = self._latest_ms = max(int(time.time() * 1000), self._latest_ms + 1)
            stamped = [{"at_ms": at_ms, **entry} for entry in entries]
            self._write(stamped)
            return stamped

    def _write(self, stamped: list[Entry]) -> None:
        number = len(self._written)
        first = number
        size = _MERGED_EACH
        while (number + 1) % size == 0:
            first = number + 1 - size
            size *= _MERGED_EACH
        merged = [entry for written in self._written[first:] for entry in written] + stamped
        self._written.append([])  # a write that fails may have come all the same: its number isn't used again
        self._upload(_Part(self._writer, first, number), merged)
        self._written[number] = stamped

    def entries(self) -> list[Entry]:
        """Everything that any process has added, by time. Raises what `Connection.request` does, TransferBroken."""
        with self._lock:
            parts = self._read_parts()
            own = [entry for written in self._written for entry in written]
            found = [*own, *(entry for part in parts for entry in self._read[part])]
            in_order = sorted(found, key=lambda entry: int(entry["at_ms"]))
            if in_order:
                self._latest_ms = max(self._latest_ms, int(in_order[-1]["at_ms"]))
        return in_order

    def _read_parts(self) -> list[_Part]:
        """Read the fewest files that have all that others wrote, and return which these are.

        A file that isn't whole was never acknowledged. The files that it was to join are still there.
        """
        listed = {part for part in self._listed() if part.writer != self._writer}
        while True:
            parts = _fewest(listed)
            missing = [part for part in parts if part not in self._read]
            if not missing:
                return parts
            found = dict(zip(missing, at_once(self._download, missing, threads=_READERS), strict=True))
            self._read.update({part: entries for part, entries in found.items() if entries is not None})
            listed -= {part for part, entries in found.items() if entries is None}

    def _listed(self) -> list[_Part]:
        names = [_NAME.fullmatch(child.path.rpartition("/")[2]) for child in self.files().list_folder(FOLDER)]
        return [_Part(name["writer"], int(name["first"]), int(name["last"])) for name in names if name]

    def files(self) -> RemoteFiles:
        """The run's files. Raises NotSupported where they aren't in the workspace."""
        if self._files is None:
            run = get_run(self._connection, self.run_id)
            try:
                found = parse_artifact_uri(run["info"]["artifact_uri"])
            except (KeyError, TrackingUriInvalid) as error:
                raise NotSupported(
                    f"Keeping what run {self.run_id} has no room for, as its files aren't here"
                ) from error
            self._files = files_of(self._connection, found.artifact_root)
        return self._files

    def _upload(self, part: _Part, entries: Sequence[Entry]) -> None:
        with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
            local = Path(folder) / "part.json"
            local.write_text(json.dumps({"entries": entries}), encoding="utf-8")
            self.files().upload([(part.path, local)])

    def _download(self, part: _Part) -> list[Entry] | None:
        """The entries of a file; None where it isn't whole, or isn't one of ours."""
        with tempfile.TemporaryDirectory(prefix="amlstore-") as folder:
            local = Path(folder) / "part.json"
            try:
                self.files().download(part.path, local)
                entries: list[Entry] = json.loads(local.read_text(encoding="utf-8"))["entries"]
                return [entry for entry in entries if "kind" in entry and "at_ms" in entry]
            except (NotFound, ValueError, KeyError, TypeError) as error:
                if part not in self._told:
                    self._told.add(part)
                    _logger.warning("Left out %r of run %s: %s", part.path, self.run_id, error)
                return None


def _fewest(listed: Iterable[_Part]) -> list[_Part]:
    """The fewest files that have everything."""
    parts: list[_Part] = []
    for part in sorted(listed, key=lambda part: (part.writer, part.first, -part.last)):
        if not parts or parts[-1].writer != part.writer or part.first > parts[-1].last:
            parts.append(part)
    return parts


_journals = ConnectionCache(RunJournal)


def journal_of(connection: Connection, run_id: str) -> RunJournal:
    """The one journal of a run in this process; another process, a forked child too, is another writer."""
    return _journals.of(connection, run_id)
