"""Runs a submitted script inside of a job of Ray's, and keeps its outputs: `WORKSPACE EXPERIMENT_ID RUN_ID`.

The job's folder is the script's. What the script prints is the job's log, which the run's runner fetches. The script
ends with its run: where this was canceled or marked Failed, as after its runner was killed, and nobody stopped the job.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_amlstore.records.common_store import CommonStore

_LOOKED_EVERY_S = 0.1
_KEPT_EVERY_S = 1.0
_GRACE_S = 5.0


def main() -> None:
    """Run the script, and end as it does."""
    here = Path.cwd()
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here.resolve()]  # the script's modules
    code = _run(*sys.argv[1:4])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _run(workspace: str, experiment_id: str, run_id: str) -> int:
    try:
        from mlflow_amlstore.errors import AmlStoreError, ExtraMissing
        from mlflow_amlstore.records.locations import run_container
        from mlflow_amlstore.runner.launch import Launch
        from mlflow_amlstore.runner.outputs import WATCHED_FOLDERS, KeptOutputs, OutputsFolder
        from mlflow_amlstore.runner.ranks import ranks_of
        from mlflow_amlstore.runner.run_records import open_records
    except ImportError as error:
        return _refuse(_missing(error))
    try:
        records = open_records(Launch(run_id, experiment_id, workspace, {}))
        (script,) = ranks_of(records.runs.definition(run_id), [sys.executable, "-u"], port=0)
    except (ImportError, ExtraMissing) as error:
        return _refuse(_missing(error))
    except AmlStoreError as error:
        return _refuse(f"The run's workspace can't be reached from this node of Ray's: {error}")
    outputs = KeptOutputs(
        records, run_container(experiment_id, run_id), [OutputsFolder(name) for name in WATCHED_FOLDERS]
    )
    process = _Script(script.argv)
    signal.signal(signal.SIGTERM, lambda *_: process.end_soon())
    kept_s = time.monotonic()
    while process.runs():
        if time.monotonic() - kept_s >= _KEPT_EVERY_S:
            with suppress(AmlStoreError, OSError):  # at the end it is said
                outputs.keep_new()
                if _has_ended(records, run_id):
                    process.end_soon()
            kept_s = time.monotonic()
        time.sleep(_LOOKED_EVERY_S)
    if problem := outputs.keep_rest():
        return process.code or _refuse(f"{problem[:1].upper()}{problem[1:]}")
    return process.code


class _Script:
    """The script's process. It stays in the job's session, which Ray ends where the job's actor dies."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self._killed_at: float | None = None

    def end_soon(self) -> None:
        """Tell it to end, and kill it some seconds later."""
        if self._killed_at is None:
            self._killed_at = time.monotonic() + _GRACE_S
            self._process.terminate()

    def runs(self) -> bool:
        """Whether it still runs."""
        if self._killed_at is not None and time.monotonic() >= self._killed_at:
            self._process.kill()
        return self._process.poll() is None

    @property
    def code(self) -> int:
        """Its exit code, or a signal's number below zero."""
        return self._process.returncode or 0


def _has_ended(records: "CommonStore", run_id: str) -> bool:
    from mlflow_amlstore.records.status import ENDED

    return records.runs.get(run_id).info.status in ENDED


def _missing(error: Exception) -> str:
    return (
        f"{sys.executable} has not what mlflow_amlstore needs: {error}. Install it in the cluster, or submit with an "
        "environment whose user_managed_dependencies is False, so that Ray installs it"
    )


def _refuse(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    main()
