"""What a runner is told: which run, where its script is, and what becomes of it.

The submitter writes it into the run's folder on this machine and starts the runner, which outlives it. Whoever holds
the lock in that folder looks after the run: first the submitter, then the runner, to which the open lock is handed.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import InvalidState
from mlflow_amlstore.records.types import LOCAL_TARGET
from mlflow_amlstore.records.validation import check_run_id
from mlflow_amlstore.runner.definition import variables_of
from mlflow_amlstore.workspace.script_log import RUN_FOLDER_VARIABLE, SOURCE

if sys.platform != "win32":
    import fcntl

COOKIE = RUN_FOLDER_VARIABLE
RUNNER_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from mlflow_amlstore.runner.main import main; main()"
"""What Python is given to be a runner."""
AFTER = "after"
"""What stands in the place of a runner's place in the queue where its run is to be ended."""
SDK = "sdk"
"""What `azureml` of a definition is where it means Azure ML's own SDK in the script."""
_LAUNCH, _LOCK, _LOGS, _OWN_PACKAGES = "launch.json", "lock", "logs", "packages"
_PACKAGES = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Launch:
    """One run on this machine. `definition` is what the SDK sends of a run configuration.

    `workspace` is the folder of an embedded workspace, or the root of a service's tracking URIs; there `token` is the
    run's own. `snapshot_id` names the script's files where they aren't in the run's folder yet. `variables` are for
    the script, besides its rank's own. `slots` is how many runs of the target run at a time, `ticket` the place in
    their queue. `has_sdk` is whether `azureml` means Azure ML's own SDK in the script, and not this package.
    `copied_files` are how many files the submitter copied into the run's folder, of `copied_bytes` together.
    """

    run_id: str
    experiment_id: str
    workspace: str
    definition: dict[str, Any]
    variables: dict[str, str] = field(default_factory=dict)
    target: str = LOCAL_TARGET
    slots: int = 1
    ticket: str = ""
    token: str = ""
    snapshot_id: str = ""
    has_sdk: bool = False
    copied_files: int = 0
    copied_bytes: int = 0

    @property
    def is_embedded(self) -> bool:
        """Whether the workspace is a folder of this machine."""
        return "://" not in self.workspace


class RunFolder:
    """A run's folder on this machine: `source/` is the copy that its script runs in, and `logs/` has what its processes
    print where the workspace is behind a service. `packages/` has this package where the machine hasn't installed it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path / SOURCE
        self.logs = path / _LOGS
        self.packages = path / _OWN_PACKAGES

    @classmethod
    def of(cls, run_id: str) -> "RunFolder":
        """The folder of a run, whether it is there or not. Raises InvalidValue for what can't be a run's id."""
        return cls(_runs_folder() / check_run_id(run_id))

    def make(self) -> int:
        """Make the folder, and take its lock; return the open lock."""
        self.source.mkdir(parents=True)
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def is_looked_after(self) -> bool:
        """Whether a process looks after the run: its submitter, its runner, or who ends it for them."""
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def take(self) -> int | None:
        """Take the lock of a folder that nobody looks after; None where somebody does, or there is no folder."""
        try:
            lock = os.open(self.path / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def remove_left(self) -> None:
        """Remove a folder that nobody looks after: of a try to prepare the run, which was killed."""
        if (lock := self.take()) is not None:
            self.remove()
            os.close(lock)

    def write(self, launch: Launch) -> None:
        """Write what the runner is told. It is this user's alone, as the script's variables may be secrets."""
        number = os.open(self.path / _LAUNCH, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            json.dump(asdict(launch), file)

    def read(self) -> Launch:
        """Read it again; what another version of this package wrote besides is left out. Raises OSError, ValueError."""
        told = json.loads((self.path / _LAUNCH).read_text(encoding="utf-8"))
        return Launch(**{each.name: told[each.name] for each in fields(Launch) if each.name in told})

    @property
    def has_launch(self) -> bool:
        """Whether a runner was told what to do."""
        return (self.path / _LAUNCH).exists()

    @property
    def started_ns(self) -> int:
        """When the run was handed to its runner, as the time of files has it."""
        return (self.path / _LAUNCH).stat().st_mtime_ns

    def remove(self) -> None:
        """Remove the folder and what is in it, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)


def start_runner(folder: RunFolder, lock: int, ticket_lock: int) -> int:
    """Start the runner of a folder that has its launch, in a session of its own; return its process id.

    It goes on when this process ends. The locks are its from now on; close them here.
    """
    return _start(folder, str(ticket_lock), [lock, ticket_lock])


def start_after(folder: RunFolder, lock: int) -> int:
    """Start what ends a run whose runner and watch were killed, as `start_runner` does; return its process id."""
    return _start(folder, AFTER, [lock])


def _start(folder: RunFolder, last: str, locks: list[int]) -> int:
    packages = folder.packages if folder.packages.exists() else _PACKAGES
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER_CODE, str(packages), str(folder.path), str(locks[0]), last],
        cwd="/",  # which no script can take away from under the runner
        env={name: value for name, value in os.environ.items() if name != COOKIE},  # of a script that submits
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=locks,
    )
    process.returncode = 0  # it isn't waited for: Python would warn of that
    return process.pid


def variables_of_run(
    definition: Mapping[str, Any], root_uri: str, run_id: str, experiment_id: str, experiment: str
) -> dict[str, str]:
    """The variables by which a script finds its run, and those that its definition gives it. Raises InvalidValue."""
    return {
        "MLFLOW_TRACKING_URI": root_uri,
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_EXPERIMENT_NAME": experiment,
        "AZUREML_RUN_ID": run_id,
        **variables_of(definition),
    }


def new_run_id(experiment_name: str, now_s: int) -> str:
    """A run id as the SDK makes it: `{experiment}_{epoch seconds}_{8 hex}`; what an id can't have becomes `_`."""
    name = "".join(each if each.isascii() and (each.isalnum() or each in "_-") else "_" for each in experiment_name)
    name = name[:200]
    return f"{name if name[:1].isalnum() else f'run{name}'}_{now_s}_{uuid.uuid4().hex[:8]}"


def slots_folder() -> Path:
    """Where the runners of this user agree on slots (`runner.slots`)."""
    return _runs_folder() / ".slots"


def runs_folder_id() -> str:
    """What tells the folder of this user's runs from another user's, and from that of another TMPDIR."""
    status = _runs_folder().stat()
    return f"{status.st_dev}:{status.st_ino}"


def run_folders() -> list[RunFolder]:
    """The folders of this user's runs on this machine."""
    return [RunFolder(path) for path in _runs_folder().iterdir() if not path.name.startswith(".")]


def _runs_folder() -> Path:
    """The folder of this user's runs on this machine. Raises InvalidState where it is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"azureml_runs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InvalidState(f"{folder} is not this user's alone. Remove it, or set TMPDIR to a folder that is")
    return folder
