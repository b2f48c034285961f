"""The service's log on stderr: a line for each request and each error, JSON in a pipe, readable on a terminal.

Lines are made where they are logged, which costs microseconds, and written a tenth of a second later by a thread of
their own, many at once: a log that nobody reads, or a slow terminal, stops no request. What can't be written in time is
dropped and counted. No query string is logged, and keys, tokens and signatures are redacted from all the rest.
"""

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from typing import Literal

import msgspec

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.workspace.redaction import redact, redact_path

LEVELS = ("debug", "info", "warning", "error")
Level = Literal["debug", "info", "warning", "error"]

_WRITE_EVERY_S = 0.1
_MAX_WAITING = 20_000  # lines: a few MB
_MAX_PATH = 500  # characters
_REFUSED = (401, 403)


class _RequestLine(msgspec.Struct, omit_defaults=True):
    time: str
    level: Level
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    caller: str = ""
    bytes: int | None = None


class _MessageLine(msgspec.Struct, omit_defaults=True):
    time: str
    level: str
    message: str
    request_id: str = ""
    error: str = ""
    traceback: str = ""


class _Log:
    """Where lines go. One in a process, made by `start`."""

    def __init__(self, level: Level, descriptor: int, is_readable: bool) -> None:
        self.skips = frozenset(LEVELS[: LEVELS.index(level)])
        self._descriptor = descriptor
        self._is_readable = is_readable
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._has_lines = threading.Event()
        self._is_stopping = threading.Event()
        self._encode = msgspec.json.Encoder().encode
        self._second = 0
        self._second_text = ""
        self._thread = threading.Thread(target=self._run, name="amlstore-log", daemon=True)
        self._thread.start()

    def time(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._second_text}.{int((now - second) * 1000):03d}Z"

    def add(self, line: _RequestLine | _MessageLine) -> None:
        if len(self._lines) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._lines.append(_as_text(line) if self._is_readable else self._encode(line))
        if not self._has_lines.is_set():
            self._has_lines.set()

    def stop(self) -> None:
        self._is_stopping.set()
        self._has_lines.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._has_lines.wait()
            self._is_stopping.wait(_WRITE_EVERY_S)
            self._has_lines.clear()
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        if self._dropped:
            message = f"{self._dropped} lines of this log were dropped because they weren't read in time"
            self._dropped = 0
            lines.append(self._encode(_MessageLine(self.time(), "warning", message)))
        if not lines:
            return
        lines.append(b"")
        waiting = memoryview(b"\n".join(lines))
        try:
            while waiting:
                waiting = waiting[os.write(self._descriptor, waiting) :]
        except OSError:
            return  # nobody reads any more, or the disk is full: neither is a reason to stop serving


_log: _Log | None = None


def start(level: Level, *, descriptor: int | None = None, is_readable: bool | None = None) -> None:
    """Begin to log on stderr, or another descriptor, whatever `level` and above; the `logging` module's records too."""
    global _log
    descriptor = sys.stderr.fileno() if descriptor is None else descriptor
    _log = _Log(level, descriptor, os.isatty(descriptor) if is_readable is None else is_readable)
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(level.upper())
    if level != "debug":
        logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))  # it tells of its own starting


def stop() -> None:
    """Write what is waiting and end logging."""
    global _log
    if _log is not None:
        _log.stop()
        _log = None


def log_request(
    *,
    request_id: str,
    method: str,
    path: str,
    status: int,
    seconds: float,
    caller: str = "",
    sent_bytes: int | None = None,
) -> None:
    """Log one answered request. `path` has no query; `caller` is the id of a key, never the key."""
    log = _log
    if log is None:
        return
    level: Level = "info" if status < 500 and status not in _REFUSED else "error" if status >= 500 else "warning"
    if level in log.skips:
        return
    shown = redact_path(path)
    if len(shown) > _MAX_PATH:
        shown = f"{shown[:_MAX_PATH]}…"
    log.add(
        _RequestLine(log.time(), level, request_id, method, shown, status, round(seconds * 1000, 2), caller, sent_bytes)
    )


def log_error(request_id: str, error: BaseException) -> None:
    """Log an error that isn't the caller's; with its traceback, where it is none of ours."""
    log = _log
    if log is None:
        logging.getLogger(__name__).error("%s", redact(str(error)), exc_info=_shown_traceback(error))
        return
    log.add(_error_line(log, "error", redact(str(error)), error, request_id))


class _Handler(logging.Handler):
    """The `logging` module's records (uvicorn's, asyncio's, SQLAlchemy's) as lines of this log."""

    def emit(self, record: logging.LogRecord) -> None:
        log = _log
        if log is None:
            return
        try:
            message = _encodable(redact(record.getMessage()))
            error = record.exc_info[1] if record.exc_info else None
            level = record.levelname.lower()
            if error is None:
                log.add(_MessageLine(log.time(), level, message))
            else:
                log.add(_error_line(log, level, message, error, ""))
        except Exception:
            self.handleError(record)


def _error_line(log: _Log, level: str, message: str, error: BaseException, request_id: str) -> _MessageLine:
    shown = _shown_traceback(error)
    lines = "".join(traceback.format_exception(type(shown), shown, shown.__traceback__)) if shown else ""
    return _MessageLine(
        log.time(), level, _encodable(message), request_id, type(error).__name__, _encodable(redact(lines))
    )


def _encodable(text: str) -> str:
    """The text without lone surrogates, which stand for bytes of file names and which UTF-8 doesn't have."""
    return text.encode(errors="backslashreplace").decode()


def _shown_traceback(error: BaseException) -> BaseException | None:
    """An error of ours says all in its message; of others it takes the traceback to understand them."""
    return None if isinstance(error, AmlStoreError) else error


def _as_text(line: _RequestLine | _MessageLine) -> bytes:
    begin = f"{line.time[11:23]} {line.level:7} "
    if isinstance(line, _RequestLine):
        caller = f"  {line.caller}" if line.caller else ""
        size = f"  {line.bytes} B" if line.bytes is not None else ""
        rest = f"{line.status} {line.method} {_printable(line.path)}  {line.duration_ms:.1f} ms{size}{caller}"
        return f"{begin}{rest}  {line.request_id}".encode()
    error = f"{line.error}: " if line.error and not line.traceback else ""
    request = f"  {line.request_id}" if line.request_id else ""
    lines = [_printable(part) for part in f"{error}{line.message}".splitlines()]
    lines[:1] = [f"{begin}{lines[0] if lines else ''}{request}"]
    lines += [f"    {_printable(part)}" for part in line.traceback.splitlines()]
    return "\n".join(lines).encode()


def _printable(text: str) -> str:
    """The text without what would command a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
