"""What becomes of a running script in its record: status, logs, outputs."""

import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_amlstore.errors import AmlStoreError
from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.records.status import ENDED
from mlflow_amlstore.records.types import RunError, RunStatus
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.outputs import WATCHED_FOLDERS, OutputsFolder, files_under
from mlflow_amlstore.runner.preparation_log import PreparationLog
from mlflow_amlstore.runner.rank_logs import RankLogs
from mlflow_amlstore.runner.ranks import Rank
from mlflow_amlstore.runner.run_records import begin_log, open_records

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
# Studio and MLflow's clients write the second.
_IS_CANCELED = (RunStatus.CANCEL_REQUESTED, RunStatus.CANCELED)
_UPLOADED_EVERY_S = 1.0
_ASKED_EVERY_S = 1.0  # a service whether the run was canceled
_LAST_BYTES = 4000  # of a log, in the error of a run that failed
_OLDER_NAMES = (
    ("user_logs/std_log_process_", "azureml-logs/70_driver_log_"),
    ("user_logs/std_log", "azureml-logs/70_driver_log"),
)


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
            self._is_canceled = self._records.runs.get(self._run_id).info.status in _IS_CANCELED
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
    ) -> None:
        """`logs` are the run's logs by their paths: the names of the growing contents that its processes write to.
        `started` are the ranks by their process ids."""
        self._records = open_records(launch)
        self._run_id = launch.run_id
        preparation.end(self._records)  # before the script's log is there, so that whoever follows both reads it first
        self._container = run_container(launch.experiment_id, launch.run_id)
        self._outputs = outputs
        self._logs: dict[str, CommonGrowingFile] = {}
        for path, name in logs.items():
            self._logs[path] = self._records.files.grow(self._container, path, name=name)
        self.ranks = RankLogs(self._records, launch, folder, started, started_ms)
        self._uploaded: dict[str, int] = {}  # the bytes of each file
        self._cancellation = _Cancellation(self._records, self._run_id)
        self._uploads_at = time.monotonic()
        self._records.runs.advance(self._run_id, RunStatus.RUNNING, start_ms=started_ms)

    def _end(self, status: RunStatus, error: RunError | None = None) -> None:
        now = time.time_ns() // 1_000_000
        with suppress(AmlStoreError):  # a run that was deleted meanwhile
            self._records.runs.update(self._run_id, status=status, end_ms=now, error=error)

    def keep_up(self) -> bool:
        """Show what the logs have got, upload what is new of the outputs; return whether somebody canceled the run."""
        for log in self._logs.values():
            log.show()
        self.ranks.show()
        if time.monotonic() >= self._uploads_at:
            self._upload()
            self._uploads_at = time.monotonic() + _UPLOADED_EVERY_S
        return self._cancellation.is_asked_for()

    def _upload(self) -> None:
        for folder in self._outputs:
            folder.upload_changed(self._keep)

    def _keep(self, files: list[tuple[str, Path]]) -> None:
        records = self._records.files.write_local(self._container, files)
        self._uploaded |= {record.path: record.size_bytes for record in records}

    def end(self, *, canceled: bool, problem: str) -> None:
        """Keep the rest of logs and outputs, and set the status. `problem` says why the run failed, if it did."""
        self._records.runs.advance(self._run_id, RunStatus.FINALIZING)
        last = ""
        for path, log in self._logs.items():
            log.end(also=_older_names(path))
            last = last or self._last_lines(path)
        try:
            self._upload()
        except (AmlStoreError, OSError) as error:
            problem = problem or f"the outputs can't be kept: {error}"
        what = "Canceled" if canceled else f"{problem[:1].upper()}{problem[1:]}"
        self.ranks.end(what, self._uploaded)
        if canceled:
            self._end(RunStatus.CANCELED)
        elif problem:
            text = f"{problem[0].upper()}{problem[1:]}"
            self._end(
                RunStatus.FAILED, error=RunError("UserError", f"{text}. Its last lines:\n{last}" if last else text)
            )
        else:
            self._end(RunStatus.COMPLETED)

    def _last_lines(self, path: str) -> str:
        record = self._records.files.find(self._container, path)
        if record is None:
            return ""
        begin = max(0, record.size_bytes - _LAST_BYTES)
        text = self._records.files.read_part(self._container, path, begin, _LAST_BYTES).decode(errors="replace")
        return text.partition("\n")[2] if begin else text


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
        written = [item for name in WATCHED_FOLDERS for item in _written_since(folder.source / name, folder.started_ns)]
        records.files.write_local(container, written)
        now = time.time_ns() // 1_000_000
        error = RunError("RunnerKilled", why)
        records.runs.update(launch.run_id, status=RunStatus.FAILED, end_ms=now, error=error)
