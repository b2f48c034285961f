"""The end of a run's log, in pieces: of a log that grows, the last piece is sent again and the others are not."""

from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.core.growing_logs import GrowingLogs
from mlflow_amlstore.errors import NotFound
from mlflow_amlstore.protocol.log_text import plain_text

PIECES = 8
_PIECE_LENGTH = 8 * 1024
_MOST_BYTES = PIECES * _PIECE_LENGTH


class LogTail:
    """The last 64 KB of one log of a run: of the script's output, unless a path is given.

    `read` gives `log`, which says which log it is, and `log_0` to `log_7`, pieces of its text, each with its number in
    the log. `rest` is the line that isn't ended yet, in its latest state.
    """

    def __init__(self, run: Run, path: str | None = None) -> None:
        self._run, self._wanted = run, path
        self._logs = GrowingLogs(run)
        self._path = ""
        self._end = 0  # the byte up to which it was read
        self._rest = b""
        self._number = 0
        self._text = ""
        self._is_cut = False

    def read(self) -> dict[str, Any]:
        """Return what has changed of `log`, `log_0`, … since the last call."""
        paths = self._logs.paths()
        if not paths and self._wanted is None:
            return {}
        path = self._wanted or paths[-1]
        changes: dict[str, Any] = {}
        if path != self._path:
            self._path, self._end, self._rest, self._number, self._text = path, 0, b"", 0, ""
            changes = {f"log_{place}": None for place in range(PIECES)}
        new = self._new_bytes()
        if not new and not changes:
            return {}
        content = self._rest + new
        ended = content.rfind(b"\n") + 1
        if len(content) - ended > _PIECE_LENGTH:  # a line without an end
            ended = len(content)
        self._rest = content[ended:]
        for line in plain_text(content[:ended]).splitlines(keepends=True):
            if len(self._text) + len(line) > _PIECE_LENGTH and self._text:
                self._number, self._text = self._number + 1, ""
            self._text += line[-_MOST_BYTES:]
            changes[f"log_{self._number % PIECES}"] = {"number": self._number, "text": self._text}
        changes["log"] = {
            "path": path,
            "size_bytes": self._end,
            "is_cut": self._is_cut or self._number >= PIECES,
            "rest": plain_text(self._rest),
        }
        return changes

    def last_lines(self, count: int) -> list[str]:
        """The last lines of the log, in their latest state."""
        pieces = [piece for name, piece in self.read().items() if name != "log" and piece is not None]
        text = "".join(piece["text"] for piece in sorted(pieces, key=lambda piece: int(piece["number"])))
        return [*text.splitlines(), *filter(None, [plain_text(self._rest)])][-count:]

    def _new_bytes(self) -> bytes:
        files, container = self._run._records.files, self._run._container
        found = files.find(container, self._path)
        if found is None or found.size_bytes == self._end:
            return b""
        if found.size_bytes < self._end:  # it was written anew
            self._end, self._rest = 0, b""
        begin = max(self._end, found.size_bytes - _MOST_BYTES)
        try:
            content = files.read_part(container, self._path, begin, found.size_bytes - begin)
        except NotFound:
            return b""
        ended = begin + len(content)
        if begin > self._end:  # within a line
            self._is_cut, self._rest = True, b""
            content = content[content.find(b"\n") + 1 :]
        self._end = ended
        return content
