"""What becomes of a running script in its record: status, logs, outputs."""

import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow_amlstore.errors import AmlStoreError, NotFound
from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunError, RunStatus, with_last_lines
from mlflow_amlstore.records.validation import encodable
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.outputs import FULL, WATCHED_FOLDERS, KeptOutputs, OutputsFolder, files_under
from mlflow_amlstore.runner.preparation_log import PreparationLog
from mlflow_amlstore.runner.rank_logs import RankLogs
from mlflow_amlstore.runner.ranks import Rank
from mlflow_amlstore.runner.run_records import begin_log, open_records

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
# Studio and MLflow's clients write the second.
_IS_CANCELED = (RunStatus.CANCEL_REQUESTED, RunStatus.CANCELED)
_UPLOADED_EVERY_S = 1.0
_ASKED_EVERY_S = 1.0  # a service whether the run was canceled
_TRIED_AGAIN_S = 0.5  # where there is no room
_LAST_BYTES = 4000  # of a log, in the error of a run that failed
_BUSY = "TEMPORARILY_UNAVAILABLE"  # a service's refusals have this code, too
_PASSES = (FULL, _BUSY)  # what was refused may be taken later
_OLDER_NAMES = (
    ("user_logs/std_log_process_", "azureml-logs/70_driver_log_"),
    ("user_logs/std_log", "azureml-logs/70_driver_log"),
)

_T = TypeVar("_T")


class _Cancellation:
    """Whether somebody canceled a run: looked up when anything was written, over a service every second."""

    def __init__(self, records: CommonStore, run_id: str) -> None:
        self._records, self._run_id = records, run_id
        watch = getattr(records, "watch", None)
        self._watch = None if watch is None else watch()
        self._version: object = None
        self._is_canceled = False

    def is_asked_for(self) -> bool:
        version = int(time.monotonic() / _ASKED_EVERY_S) if self._watch is None else self._watch.version()
        if version != self._version:
            self._version = version
            try:
                self._is_canceled = self._records.runs.get(self._run_id).info.status in _IS_CANCELED
            except NotFound:  # the run was removed for good
                self._is_canceled = True
        return self._is_canceled


class Waiting:
    """The record of a run that waits for its slot."""

    def __init__(self, launch: Launch, log: PreparationLog) -> None:
        self._records = open_records(launch)
        self._run_id, self._log = launch.run_id, log
        self._cancellation = _Cancellation(self._records, self._run_id)
        self._records.runs.advance(self._run_id, RunStatus.QUEUED)
        log.open_in(self._records)

    def goes_on(self) -> bool:
        """Whether nobody has canceled the run."""
        return not self._cancellation.is_asked_for()

    def cancel(self) -> None:
        """Mark the run Canceled: it never starts."""
        self._log.say("Canceled")
        self._log.end(self._records)
        now = time.time_ns() // 1_000_000
        self._records.runs.update(self._run_id, status=RunStatus.CANCELED, end_ms=now)


class Preparing:
    """The record of a run whose environment is built: what the build prints is one of its logs."""

    def __init__(self, launch: Launch, folder: RunFolder, log: PreparationLog) -> None:
        self._records = open_records(launch)
        self._launch, self._folder, self._run_id = launch, folder, launch.run_id
        self._cancellation = _Cancellation(self._records, self._run_id)
        self._log = log
        self._build_log: CommonGrowingFile | None = None
        self._is_writing = False
        self._records.runs.advance(self._run_id, RunStatus.PREPARING)
        log.open_in(self._records)

    def fetch_files(self) -> None:
        """Fetch the files that the script was submitted with into the run's folder."""
        archive = self._folder.path / "snapshot.zip"
        self._records.snapshots.write_zip(self._launch.snapshot_id, archive)
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(self._folder.source)
            sizes = [item.file_size for item in zipped.infolist() if not item.is_dir()]
        archive.unlink()
        self._log.say_fetched(len(sizes), sum(sizes))

    def write(self, chunk: bytes) -> None:
        """Add what the build printed."""
        self._is_writing = True
        if self._build_log is None:
            self._build_log = begin_log(self._records, self._launch, self._folder, BUILD_LOG)
        self._build_log.write(chunk)
        self._build_log.show()
        self._is_writing = False

    def is_canceled(self) -> bool:
        """Whether somebody canceled the run. A signal's handler may ask."""
        return not self._is_writing and self._cancellation.is_asked_for()

    def end(self, *, canceled: bool = False, problem: str = "") -> None:
        """Keep the build's log. The run has ended where it was canceled, or can't be prepared."""
        if self._build_log is not None:
            self._build_log.end()
        if not canceled and not problem:
            return
        self._log.say("Canceled" if canceled else problem)
        self._log.end(self._records)
        now = time.time_ns() // 1_000_000
        status = RunStatus.CANCELED if canceled else RunStatus.FAILED
        error = RunError("EnvironmentFailed", problem) if problem else None
        self._records.runs.update(self._run_id, status=status, end_ms=now, error=error)


class Recording:
    """The record of one run while its script runs."""

    def __init__(
        self,
        launch: Launch,
        folder: RunFolder,
        preparation: PreparationLog,
        outputs: Sequence[OutputsFolder],
        logs: Mapping[str, str],
        started: Mapping[int, Rank],
        started_ms: int,
        *,
        is_lost: Callable[[], bool],
    ) -> None:
        """`logs` are the run's logs by their paths: the names of the growing contents that its processes write to.
        `started` are the ranks by their process ids. `is_lost` says whether nothing may be recorded any more."""
        self._records = open_records(launch)
        self._run_id, self._is_lost = launch.run_id, is_lost
        # Before the script's log is there, so that whoever follows both reads it first.
        self._once_it_can(lambda: preparation.end(self._records))
        self._container = run_container(launch.experiment_id, launch.run_id)
        self._outputs = KeptOutputs(self._records, self._container, outputs)
        self._logs: dict[str, CommonGrowingFile] = {}
        for path, name in logs.items():
            grow = partial(self._records.files.grow, self._container, path, name=name)
            self._logs[path] = self._once_it_can(grow)
        self.ranks = self._once_it_can(lambda: RankLogs(self._records, launch, folder, started, started_ms))
        self._cancellation = _Cancellation(self._records, self._run_id)
        self._uploads_at = self._shows_at = time.monotonic()
        self._once_it_can(lambda: self._records.runs.advance(self._run_id, RunStatus.RUNNING, start_ms=started_ms))

    def keep_up(self) -> bool:
        """Show what the logs have got, upload what is new of the outputs; return whether somebody canceled the run.

        Where the disk is full or the workspace is busy the script goes on, and this is done later.
        """
        if time.monotonic() < self._shows_at:
            return self._cancellation.is_asked_for()
        try:
            for log in self._logs.values():
                log.show()
            self.ranks.show()
            if time.monotonic() >= self._uploads_at:
                self._outputs.keep_new()
                self._uploads_at = time.monotonic() + _UPLOADED_EVERY_S
        except AmlStoreError as error:
            if error.mlflow_code not in _PASSES:
                raise
            self._shows_at = time.monotonic() + _TRIED_AGAIN_S
        return self._cancellation.is_asked_for()

    def end(self, *, canceled: bool, problem: str) -> None:
        """Keep the rest of logs and outputs, and set the status. `problem` says why the run failed, if it did.

        Where there is no room for the status it is waited for: nobody else knows what became of the run. It isn't for
        the rest of a log or of the outputs, which may be what fills the disk: then the run has failed.
        """
        self._once_it_can(lambda: self._records.runs.advance(self._run_id, RunStatus.FINALIZING))
        last, not_kept = "", ""
        for path, log in self._logs.items():
            try:
                self._once_it_can(partial(log.end, also=_older_names(path)), waits_for=(_BUSY,))
            except AmlStoreError as error:
                if error.mlflow_code != FULL:
                    raise
                not_kept = f"the end of {path} can't be kept: {error}"
            last = last or self._last_lines(path)
        not_kept = not_kept or self._outputs.keep_rest()
        problem = problem or not_kept
        what = "Canceled" if canceled else f"{problem[:1].upper()}{problem[1:]}"
        self._once_it_can(lambda: self.ranks.end(what, self._outputs.kept))
        status = RunStatus.CANCELED if canceled else RunStatus.FAILED if problem else RunStatus.COMPLETED
        failure = None
        if status is RunStatus.FAILED:
            failure = RunError("UserError", _storable(with_last_lines(what, last)))
        now = time.time_ns() // 1_000_000
        with suppress(AmlStoreError):  # a run that was deleted meanwhile
            self._once_it_can(lambda: self._records.runs.update(self._run_id, status=status, end_ms=now, error=failure))

    def _once_it_can(self, write: Callable[[], _T], *, waits_for: Sequence[str] = _PASSES) -> _T:
        """What `write` returns, which is called again while the workspace refuses it for the time being."""
        while True:
            try:
                return write()
            except AmlStoreError as error:
                if error.mlflow_code not in waits_for or self._is_lost():
                    raise
            time.sleep(_TRIED_AGAIN_S)

    def _last_lines(self, path: str) -> str:
        record = self._records.files.find(self._container, path)
        if record is None:
            return ""
        begin = max(0, record.size_bytes - _LAST_BYTES)
        text = self._records.files.read_part(self._container, path, begin, _LAST_BYTES).decode(errors="replace")
        return text.partition("\n")[2] or text if begin else text  # of one long line its end


def _storable(text: str) -> str:
    """A text that a database and JSON can have: no bytes that were no UTF-8, and no NUL."""
    return encodable(text).replace("\0", "\\x00")


def _older_names(path: str) -> list[str]:
    """The names that a log had in older runs of Azure ML."""
    return next(([path.replace(newer, older, 1)] for newer, older in _OLDER_NAMES if path.startswith(newer)), [])


def _written_since(folder: Path, started_ns: int) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        return []
    return [(name, file) for name, file in files_under(folder, folder.name) if file.stat().st_mtime_ns >= started_ns]


def record_death(launch: Launch, folder: RunFolder, why: str) -> None:
    """Keep what a runner that was killed left, and mark its run Failed, unless it had ended."""
    records = open_records(launch)
    container = run_container(launch.experiment_id, launch.run_id)
    if launch.is_embedded:
        logs: dict[str, Path | None] = {
            file.path: None for file in records.files.list_all(container) if file.is_growing
        }
    else:
        logs = {**dict(files_under(folder.logs, ""))} if folder.logs.is_dir() else {}
    for path, local in logs.items():
        with suppress(AmlStoreError, OSError):  # the status says more than the rest of a log
            records.files.end_growing(container, path, local=local, also=_older_names(path))
    if records.runs.get(launch.run_id).info.status not in ENDED:
        with suppress(AmlStoreError, OSError):  # as above
            written = [
                each for name in WATCHED_FOLDERS for each in _written_since(folder.source / name, folder.started_ns)
            ]
            KeptOutputs(records, container, ()).keep(written)
        now = time.time_ns() // 1_000_000
        error = RunError("RunnerKilled", _storable(why))
        records.runs.update(launch.run_id, status=RunStatus.FAILED, end_ms=now, error=error)
