"""The processes of a script: started together, and ended with all that they started.

On Linux a runner adopts what loses its parent, so a child that makes itself a daemon is still its descendant. Where the
runner itself was killed, the script's processes are known by a variable that they inherit (`launch.COOKIE`).
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_amlstore.runner.launch import COOKIE, RUNNER_CODE

_PROC = Path("/proc")
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_LOOKED_EVERY_S = 0.02
_LONGEST_S = 5.0  # after SIGKILL


def how_it_ended(code: int) -> str:
    """What became of a process, by its exit code: `ended with exit code 3`. A signal is its negative number."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def adopt_orphans() -> None:
    """Become the parent of all descendants that lose theirs, where the system can do that (prctl(2))."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """The processes below one, children before theirs, but for the runners of other runs and what is below these."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found, place = [pid], 0
    while place < len(found):
        found += [child for child in children.pop(found[place], []) if not _is_runner(child)]
        place += 1
    return found[1:]


def _is_runner(pid: int) -> bool:
    """Whether a process is a run's runner or its watch: a script may submit others, which outlive it."""
    try:
        return RUNNER_CODE.encode() in (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def of_folder(folder: Path) -> list[int]:
    """The processes of the run that has this folder, by the variable that they inherit; on Linux alone."""
    wanted = f"{COOKIE}={folder}".encode()
    found = []
    for process in _PROC.iterdir() if sys.platform == "linux" else ():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def end(find: Callable[[], list[int]], *, grace_s: float, meanwhile: Callable[[], object] = bool) -> None:
    """End all processes that `find` finds: SIGTERM first, and SIGKILL after `grace_s` for what is still there.

    It is asked again until it finds none, so what they start meanwhile ends, too. `meanwhile` is called in between.
    Processes that this user may not end are left after some seconds.
    """
    told: set[int] = set()
    deadline = time.monotonic() + grace_s
    while running := find():
        is_late = time.monotonic() >= deadline
        if time.monotonic() >= deadline + _LONGEST_S:
            return
        for pid in running:
            if is_late or pid not in told:
                told.add(pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        time.sleep(_LOOKED_EVERY_S)
        meanwhile()


class Children:
    """The processes that this one has started, and those that it has adopted."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: int) -> int:
        """Start a process in a session of its own, whose stdout and stderr are `output`; return its id.

        Raises OSError where it can't be started.
        """
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._started[process.pid] = process
        return process.pid

    def reap(self) -> dict[int, int]:
        """The exit codes of started processes that have ended since the last call; a signal is its negative number."""
        ended = {}
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if process := self._started.pop(pid, None):
                    process.returncode = ended[pid] = os.waitstatus_to_exitcode(status)
        return ended

    def running(self) -> list[int]:
        """All of the script's processes that run."""
        return descendants(os.getpid())


def _parents() -> Iterator[tuple[int, int]]:
    """All processes that run, each with its parent."""
    if sys.platform == "linux":
        for process in _PROC.iterdir():
            if process.name.isdecimal():
                with suppress(OSError, ValueError, IndexError):
                    fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
                    if fields[0] not in (b"Z", b"X"):
                        yield int(process.name), int(fields[1])
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=False)
        for line in listed.stdout.splitlines():
            pid, parent, state = line.split()[:3]
            if not state.startswith("Z"):
                yield int(pid), int(parent)
