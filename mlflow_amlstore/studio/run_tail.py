"""A run's logs: their last lines, any other part of one, and the lines of one that have a text."""

from typing import BinaryIO, NamedTuple

import msgspec

from mlflow_amlstore.errors import InvalidValue, StorageFailed
from mlflow_amlstore.protocol.log_text import plain_text
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.records.types import RunRecord
from mlflow_amlstore.studio.log_levels import LeveledLines, least_of
from mlflow_amlstore.studio.previews import damage

LOG_SUFFIXES = (".txt", ".log", ".out", ".err")
_PART_BYTES = 64 * 1024
_SEARCHED_BYTES = 16 * 1024 * 1024  # by one request, which takes some hundredths of a second
_CHUNK_BYTES = 1024 * 1024
_ENOUGH_BYTES = 16 * 1024  # to show, of lines of a level
_FILTERED_BYTES = 4 * 1024 * 1024  # by one request, which takes about two tenths of a second
_MOST_MATCHES = 100  # of one request
_MOST_LINE_BYTES = 300  # before a match and after it
_MOST_SOUGHT_BYTES = 1000
_MOST_CHARACTER_BYTES = 4


class LogPart(msgspec.Struct, frozen=True):
    """A log's bytes from `begin` to `end`, of `size_bytes`, as text to show: whole lines, or a piece of a long one.

    `rest` follows on them where they reach the end of the log: a line that isn't ended yet. Lines below the level that
    was asked for are left out. `damage` says what is wrong with a log that can't be read; there is nothing else then.
    """

    text: str
    rest: str
    begin: int
    end: int
    size_bytes: int
    reaches_end: bool
    damage: str = ""


class Match(msgspec.Struct, frozen=True):
    """A line that has the text that is sought: its number from 1, and the byte at which the text begins."""

    line: int
    at: int
    text: str


class Matches(msgspec.Struct, frozen=True):
    """Lines found, in their order. The search goes on from byte `next_from` in line `next_line`, unless it is None.

    `damage` says what is wrong with a log that can't be read.
    """

    matches: list[Match]
    searched_bytes: int
    size_bytes: int
    next_from: int | None
    next_line: int
    damage: str = ""


def tail_of(records: RecordStore, container: str, path: str, most_bytes: int = _PART_BYTES) -> str:
    """The last lines of a log, as text to show, or what is wrong with one that is damaged. Raises NotFound."""
    part = part_of(records, container, path, most_bytes=most_bytes)
    return part.damage or part.text + part.rest


def part_of(
    records: RecordStore,
    container: str,
    path: str,
    *,
    before: int | None = None,
    after: int | None = None,
    level: str = "",
    most_bytes: int = _PART_BYTES,
) -> LogPart:
    """The lines of a log that end at byte `before`, or begin at byte `after`; without either the last.

    Parts adjoin: one asked for `before` the `begin` of another, or `after` its `end`, leaves nothing out. A line
    that is longer than a part is given in pieces, which cut no character.

    With `level`, lines of a lower level are left out (`studio.log_levels`). A part goes on until it has something to
    show, but through some megabytes at most. Raises NotFound, InvalidValue.
    """
    least = least_of(level)
    try:
        record, source = records.files.open_record(container, path)
        with source:
            size = record.size_bytes
            if after is not None:
                part = _part_after(source, after, size, most_bytes)
            else:
                part = _part_before(source, before, size, most_bytes)
            if least:
                part = _of_level(source, part, size, least, is_forwards=after is not None)
    except StorageFailed as error:
        return LogPart("", "", 0, 0, 0, reaches_end=True, damage=damage(error))
    lines, rest = plain_text(part.lines), plain_text(part.rest)
    return LogPart(lines, rest, part.begin, part.end, size, part.reaches_end)


def search(
    records: RecordStore, container: str, path: str, sought: str, *, begin: int = 0, line: int = 1, level: str = ""
) -> Matches:
    """The lines of a log that have a text, from byte `begin` on, which is in line `line`; of lines of a level, as
    `part_of` has them.

    Capitals and small letters of ASCII are the same, and of no others: so does static/log-view.js mark them. One call
    reads a part of a long log. Raises NotFound, InvalidValue.
    """
    if begin < 0:
        raise InvalidValue("begin", begin, "must be 0 or more, as next_from of the answer before")
    if line < 1:
        raise InvalidValue("line", line, "must be 1 or more, as next_line of the answer before")
    wanted, least = sought.encode()[:_MOST_SOUGHT_BYTES].lower(), least_of(level)
    try:
        record, source = records.files.open_record(container, path)
        with source:
            return _search(source, wanted, record.size_bytes, min(begin, record.size_bytes), line, least)
    except StorageFailed as error:
        return Matches([], 0, 0, None, line, damage(error))


def log_paths(records: RecordStore, run: RunRecord) -> list[str]:
    """The paths of a run's logs, that of its driver first."""
    container = run_container(run.info.experiment_id, run.info.run_id)
    found = []
    for folder in ("user_logs", "azureml-logs", "logs"):
        found += [file.path for file in records.files.list_all(container, folder, max_results=50)]
    return [path for path in found if path.endswith(LOG_SUFFIXES)]


class _Part(NamedTuple):
    """A log's lines from byte `begin` to `end`, and the `rest` where it reaches the end of the log."""

    begin: int
    end: int
    lines: bytes
    rest: bytes
    reaches_end: bool


def _part_after(source: BinaryIO, after: int, size: int, most_bytes: int) -> _Part:
    begin = min(max(after, 0), size)
    end = min(begin + most_bytes, size)
    content = _read(source, begin, min(end + 1, size))  # a byte more: whether it begins a character
    if end == size:
        return _last_part(content, begin)
    cut = content.rfind(b"\n", 0, most_bytes) + 1 or _character_begin(content, most_bytes)
    return _Part(begin, begin + cut, content[:cut], b"", reaches_end=False)


def _part_before(source: BinaryIO, before: int | None, size: int, most_bytes: int) -> _Part:
    end = size if before is None else min(max(before, 0), size)
    begin = max(end - most_bytes, 0)
    margin = min(begin, _MOST_CHARACTER_BYTES - 1)
    content = _read(source, begin - margin, end)
    cut = 0
    if begin:
        cut = content.find(b"\n", margin) + 1
        if cut in (0, len(content)):  # all of it is one line
            cut = _character_begin(content, margin)
    begin, content = begin - margin + cut, content[cut:]
    if before is None:
        return _last_part(content, begin)
    return _Part(begin, end, content, b"", reaches_end=end == size)


def _last_part(content: bytes, begin: int) -> _Part:
    """The part of what is at the end of a log, which begins at byte `begin`."""
    ended = content.rfind(b"\n") + 1
    return _Part(begin, begin + ended, content[:ended], content[ended:], reaches_end=True)


def _of_level(source: BinaryIO, part: _Part, size: int, least: int, *, is_forwards: bool) -> _Part:
    """A part without the lines below a level, and with so many parts beside it that there is something to show."""
    shown = _without_lower(source, part, least)
    while len(shown.lines) < _ENOUGH_BYTES and shown.end - shown.begin < _FILTERED_BYTES:
        if is_forwards and not shown.reaches_end:
            more = _without_lower(source, _part_after(source, shown.end, size, _CHUNK_BYTES), least)
            shown = more._replace(begin=shown.begin, lines=shown.lines + more.lines)
        elif not is_forwards and shown.begin:
            more = _without_lower(source, _part_before(source, shown.begin, size, _CHUNK_BYTES), least)
            shown = shown._replace(begin=more.begin, lines=more.lines + shown.lines)
        else:
            break
    return shown


def _without_lower(source: BinaryIO, part: _Part, least: int) -> _Part:
    end = part.end + len(part.rest)
    lines = LeveledLines(source, part.begin, end)
    return part._replace(lines=lines.kept(part.begin, part.end, least), rest=lines.kept(part.end, end, least))


def _search(source: BinaryIO, wanted: bytes, size: int, begin: int, line: int, least: int) -> Matches:
    found: list[Match] = []
    at, stop = begin, min(begin + (_FILTERED_BYTES if least else _SEARCHED_BYTES), size)
    while wanted and at < stop and len(found) < _MOST_MATCHES:
        chunk_end = min(at + _CHUNK_BYTES, size)
        # As much more as a text that begins in the chunk may have outside of it.
        chunk = _read(source, at, min(chunk_end + len(wanted) - 1, size))
        places, searched = _places_in(chunk, chunk_end - at, wanted, _MOST_MATCHES - len(found))
        levels = LeveledLines(source, at, chunk_end) if least and places else None
        counted = 0
        for place in places:
            line += chunk.count(b"\n", counted, place)
            counted = place
            if levels and (level := levels.level_at(at + place)) is not None and level < least:
                continue
            if not found or found[-1].line != line:  # its line may have begun in the chunk before
                found.append(Match(line, at + place, _line_at(source, at + place)))
        line += chunk.count(b"\n", counted, searched)
        at += searched
    is_over = at >= size or not wanted
    return Matches(found, at - begin, size, None if is_over else at, line)


def _places_in(chunk: bytes, size: int, wanted: bytes, most: int) -> tuple[list[int], int]:
    """Where lines have a text that begins in the first `size` bytes, one place of each line, and how far was looked."""
    lower = chunk.lower()
    places: list[int] = []
    looked = 0
    while looked < size and len(places) < most:
        place = lower.find(wanted, looked, size + len(wanted) - 1)
        if place < 0:
            return places, size
        places.append(place)
        looked = lower.find(b"\n", place, size) + 1 or size
    return places, looked


def _line_at(source: BinaryIO, at: int) -> str:
    """The line around a byte, of a very long one what is near."""
    begin = max(at - _MOST_LINE_BYTES, 0)
    margin = min(begin, _MOST_CHARACTER_BYTES - 1)
    content = _read(source, begin - margin, at + _MOST_LINE_BYTES + 1)
    place = at - begin + margin
    first = content.rfind(b"\n", margin, place) + 1 or _character_begin(content, margin)
    last = content.find(b"\n", place)
    if last < 0:
        last = _character_begin(content, min(place + _MOST_LINE_BYTES, len(content)))
    return plain_text(content[first:last])


def _character_begin(content: bytes, place: int) -> int:
    """Where the character of UTF-8 begins that byte `place` is in; where it is in none, `place`."""
    for begin in range(place, max(place - _MOST_CHARACTER_BYTES, -1), -1):
        if begin == len(content) or content[begin] & 0b1100_0000 != 0b1000_0000:
            return begin
    return place


def _read(source: BinaryIO, begin: int, end: int) -> bytes:
    source.seek(begin)
    return source.read(end - begin)
