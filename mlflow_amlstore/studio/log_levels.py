"""Which of Python's logging levels a line of a log has: the one place that says so.

It is said here and not in the page, since a log is filtered whole, and a page has a part of it. Text that lines have
without being logged belongs to the line before: a traceback under an error, what is printed after a warning.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from mlflow_amlstore.errors import InvalidValue

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""Python's levels by their names, the lowest first (https://docs.python.org/3/library/logging.html#logging-levels)."""
_WORDS = {**LEVELS, "WARN": LEVELS["WARNING"], "FATAL": LEVELS["CRITICAL"]}
_LOOKED_BACK_BYTES = (4 * 1024, 1024 * 1024)  # for the line that others belong to: first near, then far
_MOST_BEFORE_LEVEL_BYTES = 600  # in a line
# What stands before a level in a line: nothing; a time and up to four words; a logger's name. A terminal's colours may
# stand around the level, and the last state of a progress bar before it.
_LEVEL = re.compile(
    rb"""
    (?:
        (?:
            (?P<time> \[? (?:\d{4}[-/]\d\d[-/]\d\d[T\ ])? \d\d:\d\d:\d\d (?:[.,]\d{1,9})? (?:Z|[+-]\d\d:?\d\d)? \]? )
            (?: (?:\[[^\]\s]{1,100}\]){0,3} | (?:[ \t]+\S{1,100}){1,4}? (?=[ \t]) )
            [ \t]* [:|-]? [ \t]*
            |
            [\w.<>]{1,100} [ ]-[ ]
            |
        )
        (?:\x1b\[[\d;]*m)* [\[(<{]? (?P<word>DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL) (?=[\])>}\s:|,-]|\x1b|$)
        |
        (?P<traceback> Traceback\ \(most\ recent\ call\ last\): )
        |
        (?P<warning> [^\s:][^:\n\r]{0,400}:\d{1,9}:\ \w{0,100}Warning:\  )
    )
    """,
    re.VERBOSE | re.MULTILINE,
)
_HINT = re.compile(rb"DEBUG|INFO|WARN|ERROR|CRITICAL|FATAL|Traceback |Warning: ")  # found fast; a line without has none


class _Found(NamedTuple):
    """A line with a level of its own: the byte at which it begins."""

    begin: int
    level: int


class LeveledLines:
    """The levels of the lines in a stretch of a log, from byte `begin` to `end`; a line may go on outside of it."""

    def __init__(self, source: BinaryIO, begin: int, end: int) -> None:
        for back_bytes in _LOOKED_BACK_BYTES:
            self._begin = max(begin - back_bytes, 0)
            source.seek(self._begin)
            self._content = source.read(end + _MOST_BEFORE_LEVEL_BYTES - self._begin)
            self._found = list(self._leveled())
            if self._begin == 0 or (self._found and self._found[0].begin <= begin):
                break
        self._begins = [found.begin for found in self._found]

    def level_at(self, place: int) -> int | None:
        """The level of the line that byte `place` is in; None where no line before it has one."""
        index = bisect_right(self._begins, place) - 1
        return None if index < 0 else self._found[index].level

    def kept(self, begin: int, end: int, least: int) -> bytes:
        """The bytes between two places that are of lines with this level or a higher one, or with none."""
        pieces = []
        first = bisect_right(self._begins, begin)
        edges = [begin, *(found.begin for found in self._found[first:] if found.begin < end), end]
        for piece_begin, piece_end in pairwise(edges):
            level = self.level_at(piece_begin)
            if level is None or level >= least:
                pieces.append(self._content[piece_begin - self._begin : piece_end - self._begin])
        return b"".join(pieces)

    def _leveled(self) -> Iterator[_Found]:
        content, place = self._content, 0
        while (hint := _HINT.search(content, place)) is not None:
            line = content.rfind(b"\n", 0, hint.start()) + 1
            end = content.find(b"\n", hint.end())
            place = len(content) if end < 0 else end
            if line == 0 and self._begin:
                continue  # the beginning of this line isn't here
            shown = content.rfind(b"\r", line, place - 1) + 1 or line
            match = _LEVEL.match(content, shown)
            if match is not None:
                yield _Found(self._begin + line, _level_of(match))


def least_of(name: str) -> int:
    """The number of the level that has this name; 0 for no name. Raises InvalidValue."""
    if name and name not in LEVELS:
        raise InvalidValue("level", name, f"must be one of {', '.join(LEVELS)}, or empty for all lines")
    return LEVELS.get(name, 0)


def _level_of(match: re.Match[bytes]) -> int:
    word = match["word"]
    if word is not None:
        return _WORDS[word.decode()]
    return LEVELS["ERROR"] if match["traceback"] is not None else LEVELS["WARNING"]
