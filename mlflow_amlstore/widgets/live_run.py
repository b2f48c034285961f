"""A run that is watched: a thread tells what has changed, until the run has ended or nobody looks any more."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from mlflow_amlstore.core import Run
from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.protocol.log_text import without_codes
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.text_direction import plain
from mlflow_amlstore.records.types import RunError, RunRecord
from mlflow_amlstore.widgets.child_table import ChildTable
from mlflow_amlstore.widgets.log_tail import PIECES, LogTail
from mlflow_amlstore.widgets.metric_parts import MOST_CHARTS, MetricParts

_LOOKED_EVERY_S = 0.05  # whether anything was written into a folder's workspace, which takes microseconds
_ASKED_EVERY_S = 2.0  # elsewhere; and whether a run's runner was killed, which writes nothing
_SHORTEST_PAUSE_S = 0.2  # between two looks: what is logged without a pause is seen five times a second
_SHARE_OF_TIME = 0.2  # that looking may take, however long the run's series are
_LONGEST_PAUSE_S = 10.0  # after an error
_ASKED_BY = ("metric", "path", "paths")  # what the page names to the kernel as it is

_logger = logging.getLogger(__name__)


class LiveRun:
    """A run, its children, and the charts and the log of one of them: its own at first.

    `publish` is told what has changed, under these names: `head` (the run), `children` (their table), `shown` (the run
    whose charts and log are shown), `part_0`, … (its metrics), `log`, `log_0`, … (the end of its log), `problem` (why
    this isn't up to date). All of it is JSON. The thread is a daemon, and calls of all methods may come from any.
    """

    def __init__(self, run: Run, publish: Callable[[dict[str, Any]], None]) -> None:
        self._run, self._publish = run, publish
        self._lock = threading.RLock()  # of a look, which is one thread's at a time
        self._children = ChildTable(run)
        self._told: dict[str, Any] = {}  # what was published under the names that are compared
        self._waker = threading.Event()
        self._is_stopped = False
        self._thread: threading.Thread | None = None
        self._show(run)

    def look(self) -> dict[str, Any]:
        """Return what has changed since the last look. Raises AmlStoreError."""
        with self._lock:
            record = self._record_of(self._run)
            shown = record if self._shown == self._run else self._record_of(self._shown)
            changes: dict[str, Any] = {}
            for place, part in self._parts.read(shown).items():
                exact = {name: part[name] for name in _ASKED_BY if name in part}
                changes[f"part_{place}"] = {**_readable(part), **exact}
            changes |= self._log.read()
            told = {
                "head": _readable({**_head(record), **self._place}),
                "shown": _readable({**_head(shown), "logs": self._shown._log_files()}),
                "children": _readable(self._children.read(record)),
                "problem": "",
            }
            changes |= {name: value for name, value in told.items() if self._told.get(name, "?") != value}
            self._told |= told
            return {**self._forgotten(), **changes}

    def show(self, run_id: str, log: str | None = None) -> None:
        """Show the charts and a log of the run, or of one of its children, from now on. Raises NotFound."""
        with self._lock:
            if run_id != self._shown.id:
                self._show(self._run.experiment.workspace.get_run(run_id))
            if log is not None:
                self._log = LogTail(self._shown, log)
        self.start()
        self._waker.set()

    @property
    def shown(self) -> Run:
        """The run whose charts and log are shown."""
        return self._shown

    def image(self, path: str) -> str:
        """An image of the run that is shown, as `MetricParts.image`."""
        return self._parts.image(path)

    def start(self) -> None:
        """Watch it, unless that goes on already."""
        with self._lock:
            self._is_stopped = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name=f"amlstore-watch-{self._run.id}", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Watch it no more. Returns at once; the thread ends within its present look."""
        self._is_stopped = True
        self._waker.set()

    @property
    def is_watched(self) -> bool:
        """Whether the thread goes on."""
        return self._thread is not None

    @property
    def _place(self) -> dict[str, str]:
        return {"experiment": self._run.experiment.name, "url": self._run.get_portal_url()}

    def _show(self, run: Run) -> None:
        self._shown = run
        self._parts, self._log = MetricParts(run), LogTail(run)
        self._is_new = True

    def _forgotten(self) -> dict[str, Any]:
        """What is nothing until the new run's own takes its place."""
        if not self._is_new:
            return {}
        self._is_new = False
        names = [*(f"part_{n}" for n in range(MOST_CHARTS)), *(f"log_{n}" for n in range(PIECES)), "log"]
        return dict.fromkeys(names)

    def _record_of(self, run: Run) -> RunRecord:
        run.get_status()  # which notices that the run's runner was killed
        return run._records.runs.whole(run.id)

    def _watch(self) -> None:
        watch = getattr(self._run._records, "watch", None)  # which a folder's records have
        watching = None if watch is None else watch()
        try:
            self._look_until_the_end(None if watching is None else watching.version)
        except Exception:
            _logger.exception("Run %s is shown as it was: watching it failed", self._run.id)
            self._thread = None
        finally:
            if watching is not None:
                watching.close()

    def _look_until_the_end(self, version: Callable[[], int] | None) -> None:
        pause_s, has_ended = 0.0, False
        while self._goes_on(has_ended):
            seen = _version(version)  # asked first: what is written meanwhile is seen by the next look
            began = time.monotonic()
            try:
                self._publish(self.look())
                pause_s = max(_SHORTEST_PAUSE_S, (time.monotonic() - began) / _SHARE_OF_TIME)
                has_ended = self._has_ended()
                if has_ended:
                    continue
            except AmlStoreError as error:
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s + _SHORTEST_PAUSE_S)
                self._told["problem"] = str(error)
                self._publish({"problem": str(error)})
            self._wait(began, pause_s, version, seen)

    def _goes_on(self, has_ended: bool) -> bool:
        """Whether the thread is still wanted; if not, it isn't the one any more that `start` finds."""
        with self._lock:
            if self._is_stopped or (has_ended and not self._is_new):
                self._thread = None
                return False
            return True

    def _has_ended(self) -> bool:
        """Whether the run has, and its children, which may go on for longer."""
        children = self._told["children"]
        shown = [self._told["head"], self._told["shown"], *(children["rows"] if children else ())]
        return {each["status"] for each in shown} <= {status.value for status in ENDED}

    def _wait(self, began: float, pause_s: float, version: Callable[[], int] | None, seen: int | None) -> None:
        """Wait until there may be something new, and not less than the pause, unless another run is to be shown."""
        while not self._is_stopped and not self._waker.is_set():
            waited = time.monotonic() - began
            if waited >= pause_s and (waited >= _ASKED_EVERY_S or (version is not None and _version(version) != seen)):
                break
            self._waker.wait(_LOOKED_EVERY_S)
        if not self._is_stopped:
            self._waker.clear()


def _version(version: Callable[[], int] | None) -> int | None:
    """The workspace's version; None where it can't be asked for: the look that follows says why."""
    try:
        return None if version is None else version()
    except AmlStoreError:
        return None


def _readable(value: Any) -> Any:
    """A value whose texts are shown in their own order (`records.text_direction`)."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): _readable(each) for key, each in value.items()}
    if isinstance(value, list) and any(isinstance(each, str | list | dict) for each in value):
        return [_readable(each) for each in value]
    return value


def _head(record: RunRecord) -> dict[str, Any]:
    info = record.info
    return {
        "run_id": info.run_id,
        "name": info.name,
        "status": info.status.value,
        "started_ms": info.start_ms,
        "ended_ms": info.end_ms,
        **_error(info.error),
        "params": record.params,
    }


def _error(error: RunError | None) -> dict[str, str]:
    """Why a run failed: in one line, and the lines that follow it, which are a log's last ones where a script ended."""
    if error is None:
        return {"error": "", "error_lines": ""}
    return {"error": f"{error.code}: {error.summary}", "error_lines": without_codes(error.details)}
