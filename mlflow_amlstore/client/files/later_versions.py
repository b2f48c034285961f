"""Names for what is written again where a file is written once, as Azure ML does with a run's.

`checkpoints/last.ckpt`, written a second time, is `checkpoints/last.amlstore-2.ckpt` there, then `…-3.ckpt`: the ending
stays the file's own, so that Azure's studio still shows a picture as one. This package reads the latest under the first
name and lists none but that; a tag of the run says to others that there are such files. A user's own
`last.amlstore-2.ckpt` is `last.amlstore-2.amlstore-1.ckpt` there: the first version of a file of this name.
"""

import posixpath
import re
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

_LISTING_HOLDS_S = 10.0
_LATER = re.compile(r"(?P<stem>.*)\.amlstore-(?P<number>[1-9]\d{0,8})(?P<ending>\.[^./]*)?", re.DOTALL)


class Version(NamedTuple):
    """A file's own path, and which version of it a path means: 1 is the first."""

    path: str
    number: int


def path_of(version: Version) -> str:
    """The path that a version is under: the first under the file's own, unless that looks like a version's."""
    folder, name = posixpath.split(version.path)
    if version.number == 1 and not looks_like_version(version.path):
        return version.path
    stem, ending = posixpath.splitext(name)
    return posixpath.join(folder, f"{stem}.amlstore-{version.number}{ending}")


def version_of(path: str) -> Version:
    """The version that a path means."""
    folder, name = posixpath.split(path)
    match = _LATER.fullmatch(name)
    if match is None:
        return Version(path, 1)
    own = posixpath.join(folder, match["stem"] + (match["ending"] or ""))
    if match["number"] == "1" and not looks_like_version(own):
        return Version(path, 1)  # no name of ours
    return Version(own, int(match["number"]))


def looks_like_version(path: str) -> bool:
    """Whether a file of this name would be taken for a version of another."""
    return _LATER.fullmatch(posixpath.basename(path)) is not None


class KnownVersions:
    """What a process knows of the versions of the files of one place. Safe across threads."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}  # of files that were written again, the latest version that we know is there
        self._asked_for: dict[str, int] = {}  # the latest that we asked to write, whether or not its content ever came
        self._listed_at_s: dict[str, float] = {}  # by folder
        self._lock = threading.Lock()

    def to_write(self, paths: Iterable[str]) -> dict[str, str]:
        """The path to write each file to: by what is known, one that isn't taken."""
        with self._lock:
            return {path: self._to_write(path) for path in paths}

    def _to_write(self, path: str) -> str:
        if path not in self._latest and path not in self._asked_for:
            return path_of(Version(path, 1))
        number = self._asked_for[path] = max(self._latest.get(path, 1), self._asked_for.get(path, 1)) + 1
        return path_of(Version(path, number))

    def is_taken(self, path: str, written_to: str) -> None:
        """The path that a file was to be written to can't be."""
        with self._lock:
            self._asked_for[path] = max(self._asked_for.get(path, 1), version_of(written_to).number)

    def are_written(self, paths: Iterable[str]) -> None:
        """What was asked for last is there."""
        with self._lock:
            for path in paths:
                if path in self._asked_for:
                    self._latest[path] = max(self._latest.get(path, 1), self._asked_for[path])

    def are_listed(self, folder: str, versions: Iterable[Version]) -> None:
        """The latest versions of a folder's files are these, just now."""
        with self._lock:
            for path, number in versions:
                if number > self._latest.get(path, 1):
                    self._latest[path] = number
            self._listed_at_s[folder] = time.monotonic()

    def was_listed(self, path: str) -> bool:
        """Whether this was listed just now.

        Then the listing's versions are taken as the latest, so that a folder's files aren't asked for one by one. What
        another process writes again in these seconds is seen after them.
        """
        now_s = time.monotonic()
        with self._lock:
            listed = [folder for folder, at_s in self._listed_at_s.items() if now_s - at_s < _LISTING_HOLDS_S]
        return any(not folder or path.startswith(f"{folder}/") for folder in listed)

    def latest(self, path: str) -> str:
        """The path of a file's latest version that is known."""
        with self._lock:
            return path_of(Version(path, self._latest.get(path, 1)))
