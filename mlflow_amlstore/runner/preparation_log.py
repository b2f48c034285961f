"""`azureml-logs/65_job_prep-NODE.txt`: what a run's runner did before the script."""

import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from mlflow_amlstore.records.common_store import CommonGrowingFile, CommonStore
from mlflow_amlstore.records.locations import run_container
from mlflow_amlstore.runner.launch import Launch, RunFolder
from mlflow_amlstore.runner.run_records import begin_log
from mlflow_amlstore.workspace.redaction import redact


def node_name() -> str:
    """This machine's name; what a path can't have becomes `_`."""
    return "".join(
        each if each.isascii() and (each.isalnum() or each in "._-") else "_" for each in os.uname().nodename
    )


def utc_text(time_ms: int | None = None) -> str:
    """A time (ms since the epoch), or now, in ISO 8601."""
    time_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time_ms // 1000))}.{time_ms % 1000:03d}Z"


def log_line(text: str, time_ms: int | None = None) -> bytes:
    """A line of a log: its time (UTC, now by default) and a text."""
    return f"{utc_text(time_ms)} {redact(text)}\n".encode()


class PreparationLog:
    """Lines are kept here until somebody may wait for them, as opening the run's record is slow, and so is a write."""

    def __init__(self, launch: Launch, folder: RunFolder) -> None:
        self._launch, self._folder = launch, folder
        self._path = f"azureml-logs/65_job_prep-{node_name()}.txt"
        self._lines: list[bytes] = []
        self._file: CommonGrowingFile | None = None
        self._waits_since_s = 0.0
        self._before = -1
        if launch.copied_files:
            self.say(f"Copied the source folder: {_amount(launch.copied_files, launch.copied_bytes)}")

    def say(self, text: str) -> None:
        """Add a line."""
        self._lines.append(log_line(text))

    def say_waits(self, before: int) -> None:
        """Say that the run waits for a slot, and how many wait before it, where that has changed."""
        if before != self._before:
            self._waits_since_s = self._waits_since_s or time.monotonic()
            self._before = before
            place = "this run is the next" if before == 0 else f"{before} before this run"
            slots = "the slot" if self._launch.slots == 1 else f"one of the {self._launch.slots} slots"
            self.say(f"Waiting for {slots} of compute target {self._launch.target}: {place}")
        self._show()

    def say_has_slot(self) -> None:
        """Say how long the run has waited, if it has."""
        if self._waits_since_s:
            self.say(f"Got a slot after {time.monotonic() - self._waits_since_s:.1f} s")

    def say_fetched(self, files: int, size_bytes: int) -> None:
        """Say that the script's files were fetched."""
        self.say(f"Fetched the source folder: {_amount(files, size_bytes)}")

    def say_interpreter(self, interpreter: Sequence[str], built_s: float | None) -> None:
        """Say which environment was taken; `built_s` is how long its build took, None where nothing was built."""
        environment: Mapping[str, Any] = self._launch.definition.get("environment") or {}
        name = environment.get("name")
        called = f"Environment {name!r}" if name else "The environment"
        if built_s is not None:
            how = f"{called} was ready after {built_s:.1f} s (azureml-logs/20_image_build_log.txt). "
        elif (environment.get("python") or {}).get("userManagedDependencies"):
            how = f"{called} is user-managed. "
        elif interpreter[0] != sys.executable:
            how = f"{called} was in the cache. "
        else:
            how = f"{called} needs nothing built. " if environment else ""
        self.say(f"{how}Python: {' '.join(interpreter)}")

    def say_started(self, processes: Collection[int], interpreter: Sequence[str], problem: str) -> None:
        """Say which processes were started, and what `azureml` means in them where it could mean two packages."""
        if problem:
            self.say(problem)
        elif len(processes) == 1:
            self.say(f"Started the script as process {next(iter(processes))}")
        else:
            self.say(f"Started {len(processes)} ranks as processes {', '.join(map(str, processes))}")
        if self._launch.has_sdk:
            self.say("`azureml` means Azure ML's own SDK in the script, as the submission says")
        elif _has_sdk(interpreter[0]):
            self.say(
                "`azureml` means mlflow_amlstore in the script. Azure ML's own SDK is installed, too: "
                'submit(…, azureml="sdk") chooses that'
            )

    def open_in(self, records: CommonStore) -> None:
        """Let readers see what has been said: the run waits for its turn, or its preparation takes long."""
        if self._file is None:
            self._file = begin_log(records, self._launch, self._folder, self._path)
        self._show()

    def end(self, records: CommonStore) -> None:
        """Keep the log: nothing is said any more."""
        if self._file is not None:
            self._show()
            self._file.end()
        else:
            container = run_container(self._launch.experiment_id, self._launch.run_id)
            records.files.write(container, self._path, BytesIO(b"".join(self._lines)))

    def _show(self) -> None:
        if self._file is not None:
            lines, self._lines = self._lines, []
            if lines:
                self._file.write(b"".join(lines))
            self._file.show()


def _amount(files: int, size_bytes: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}, {size_bytes} bytes"


def _has_sdk(interpreter: str) -> bool:
    """Whether a Python is sure to find Azure ML's SDK, by the folders where packages are installed."""
    if interpreter == sys.executable:
        folders = [Path(folder) for folder in sys.path]
    else:
        folders = list(Path(interpreter).parent.parent.glob("lib/python3*/site-packages"))
        if len(folders) != 1:  # it isn't known which one is this Python's
            return False
    return any((folder / "azureml" / "core" / "__init__.py").is_file() for folder in folders)
