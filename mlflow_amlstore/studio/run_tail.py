"""A run's logs: their last lines, any other part of one, and the lines of one that have a text."""

from typing import BinaryIO

import msgspec

from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.studio.previews import plain_text

LOG_SUFFIXES = (".txt", ".log", ".out", ".err")
_PART_BYTES = 64 * 1024
_SEARCHED_BYTES = 16 * 1024 * 1024  # by one request, which takes some hundredths of a second
_CHUNK_BYTES = 1024 * 1024
_MOST_MATCHES = 100  # of one request
_MOST_LINE_BYTES = 300  # before a match and after it
_MOST_SOUGHT_BYTES = 1000


class LogPart(msgspec.Struct, frozen=True):
    """Whole lines of a log: its bytes from `begin` to `end`, of `size_bytes`, as text to show.

    `rest` follows on them where they reach the end of the log: a line that isn't ended yet.
    """

    text: str
    rest: str
    begin: int
    end: int
    size_bytes: int


class Match(msgspec.Struct, frozen=True):
    """A line that has the text that is sought: its number from 1, and the byte at which the text begins."""

    line: int
    at: int
    text: str


class Matches(msgspec.Struct, frozen=True):
    """Lines found, in their order. The search goes on from byte `next_from` in line `next_line`, unless it is None."""

    matches: list[Match]
    searched_bytes: int
    size_bytes: int
    next_from: int | None
    next_line: int


def tail_of(records: RecordStore, container: str, path: str, most_bytes: int = _PART_BYTES) -> str:
    """The last lines of a log, as text to show. Raises NotFound."""
    part = part_of(records, container, path, most_bytes=most_bytes)
    return part.text + part.rest


def part_of(
    records: RecordStore,
    container: str,
    path: str,
    *,
    before: int | None = None,
    after: int | None = None,
    most_bytes: int = _PART_BYTES,
) -> LogPart:
    """The lines of a log that end at byte `before` at the latest, or begin at byte `after`; without either the last.

    A line that is longer than a part is given in pieces. Raises NotFound.
    """
    record, source = records.files.open_record(container, path)
    size = record.size_bytes
    with source:
        if after is not None:
            begin = min(max(after, 0), size)
            end = min(begin + most_bytes, size)
        else:
            end = size if before is None else min(max(before, 0), size)
            begin = max(end - most_bytes, 0)
        source.seek(begin)
        content = source.read(end - begin)
    if after is None and begin and (cut := content.find(b"\n") + 1) < len(content):
        begin, content = begin + cut, content[cut:]
    ended = content.rfind(b"\n") + 1
    if not ended and end < size:
        ended = len(content)  # a piece of a line
    rest = plain_text(content[ended:]) if end == size else ""
    return LogPart(plain_text(content[:ended]), rest, begin, begin + ended, size)


def search(records: RecordStore, container: str, path: str, sought: str, *, begin: int = 0, line: int = 1) -> Matches:
    """The lines of a log that have a text, from byte `begin` on, which is in line `line`.

    Capitals and small letters of ASCII are the same. One call reads a part of a long log. Raises NotFound.
    """
    record, source = records.files.open_record(container, path)
    wanted = sought.encode()[:_MOST_SOUGHT_BYTES].lower()
    size, at, found = record.size_bytes, min(max(begin, 0), record.size_bytes), list[Match]()
    stop = min(at + _SEARCHED_BYTES, size)
    with source:
        while wanted and at < stop and len(found) < _MOST_MATCHES:
            source.seek(at)
            # As much more as a text that begins in the chunk may have outside of it.
            chunk = source.read(_CHUNK_BYTES + len(wanted) - 1)
            own = min(_CHUNK_BYTES, len(chunk))
            at, line = _search_chunk(source, chunk, own, wanted, at, line, found)
    is_over = at >= size or not wanted
    return Matches(found, at - begin, size, None if is_over else at, line)


def log_paths(records: RecordStore, run: RunRecord) -> list[str]:
    """The paths of a run's logs, that of its driver first."""
    container = run_container(run.info.experiment_id, run.info.run_id)
    found = []
    for folder in ("user_logs", "azureml-logs", "logs"):
        found += [file.path for file in records.files.list_all(container, folder, max_results=50)]
    return [path for path in found if path.endswith(LOG_SUFFIXES)]


def _search_chunk(
    source: BinaryIO, chunk: bytes, own: int, wanted: bytes, offset: int, line: int, found: list[Match]
) -> tuple[int, int]:
    """Add what a chunk has to `found`; return the place and the line to go on from."""
    lower = chunk.lower()
    place = 0
    while len(found) < _MOST_MATCHES and -1 < (at := lower.find(wanted, place)) < own:
        line += chunk.count(b"\n", place, at)
        if not found or found[-1].line != line:  # one match of a line is enough
            found.append(Match(line, offset + at, _line_at(source, offset + at)))
        line_end = lower.find(b"\n", at)
        if line_end < 0 or line_end >= own:
            return offset + own, line + chunk.count(b"\n", at, own)
        place = line_end
    end = own if len(found) < _MOST_MATCHES else place
    return offset + end, line + chunk.count(b"\n", place, end)


def _line_at(source: BinaryIO, at: int) -> str:
    """The line around a byte, of a very long one what is near."""
    begin = max(at - _MOST_LINE_BYTES, 0)
    source.seek(begin)
    before, after = source.read(at - begin), source.read(_MOST_LINE_BYTES)
    return plain_text(before.rpartition(b"\n")[2] + after.partition(b"\n")[0])
