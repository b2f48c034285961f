"""The command `amlstore` in processes of its own: in a pipe, and on a pseudo-terminal of 80 columns."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fork_server
import pytest
from fork_server import ForkedProcess, run_forked

from mlflow_amlstore.workspace.opening import EmbeddedWorkspace, create_workspace

AMLSTORE = Path(sys.executable).with_name("amlstore")
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AMLSTORE_", "COLUMNS", "LINES"))
}


@dataclass
class Result:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The tab-separated lines of a pipe."""
        return [line.split("\t") for line in self.out.splitlines()]


Amlstore = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[EmbeddedWorkspace]:
    opened = create_workspace(tmp_path / "ws")
    yield opened
    opened.close()


@pytest.fixture
def amlstore(workspace: EmbeddedWorkspace) -> Amlstore:
    """Run `amlstore ARGUMENTS` in the workspace's folder, its output in a pipe."""

    def run(
        *arguments: str, typed: str = "", folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> Result:
        wanted = {**ENVIRONMENT, **(environment or {})}
        command = [*fork_server.AMLSTORE, *arguments]
        done = run_forked(command, cwd=folder or workspace.folder, env=wanted, input=typed)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def amlstore_on_terminal(workspace: EmbeddedWorkspace) -> Callable[..., str]:
    """Run `amlstore ARGUMENTS` on a terminal of so many columns, and return what it shows, without colours."""

    def run(*arguments: str, columns: int = 80) -> str:
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {**ENVIRONMENT, "TERM": "xterm"}
        command = [*fork_server.AMLSTORE, *arguments]
        process = ForkedProcess(command, cwd=workspace.folder, env=environment, stdin=its, stdout=its, stderr=its)
        os.close(its)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        os.close(ours)
        process.wait()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")

    return run
