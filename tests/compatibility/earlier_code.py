"""The package as it was at an earlier commit, taken from the repository's history, and processes that run it."""

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from mlflow_amlstore.pytest_plugin import AmlstoreService

ROOT = Path(__file__).parents[2]
PACKAGE = "mlflow_amlstore"
_SCRIPT = Path(__file__).with_name("workspace_script.py")


def previous_commit() -> str:
    """The commit of the version before this one, which previous_version.txt names."""
    lines = Path(__file__).with_name("previous_version.txt").read_text(encoding="utf-8").splitlines()
    (commit,) = [line for line in lines if line and not line.startswith("#")]
    return commit


class NoHistory(Exception):
    """The code of earlier commits isn't here: this is no clone of the repository, or a shallow one."""


class Code:
    """A folder that has the package, and the environment of processes that import it from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = ("MLFLOW_", "_MLFLOW_", "AMLSTORE_", "COVERAGE_")  # coverage is measured of today's code alone
        kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        self.environment = {**kept, "PYTHONPATH": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}

    @classmethod
    def of_commit(cls, commit: str, folder: Path) -> "Code":
        """Unpack a commit's package into a folder. Raises NoHistory."""
        if not (ROOT / ".git").exists():
            raise NoHistory(f"the code of {commit} is in the repository's history, and this is no clone of it")
        command = ["git", "archive", "--format=tar", commit, PACKAGE]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if done.returncode and (ROOT / ".git" / "shallow").exists():
            raise NoHistory(f"the code of {commit} isn't in this shallow clone: git fetch --unshallow")
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        return cls(folder)


class CodeProcess:
    """A process that runs workspace_script.py with a version's code, and answers calls of its functions."""

    def __init__(self, code: Code, folder: Path) -> None:
        """Start it; what it says of errors goes into a file in `folder`, its home and its state, too, are there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = folder / "errors"
        began = time.monotonic()
        own = dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), str(folder))
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(_SCRIPT)],
                env={**code.environment, **own},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )
        assert Path(self.call("package")).is_relative_to(code.folder)
        self.start_s = time.monotonic() - began

    def __enter__(self) -> "CodeProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()

    def call(self, name: str, *arguments: object, environment: Mapping[str, str] = {}) -> Any:
        """Call a function, and return what it returned."""
        self.begin(name, *arguments, environment=environment)
        return self.answer()

    def begin(self, name: str, *arguments: object, environment: Mapping[str, str] = {}) -> None:
        """Call a function; `answer` waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, [str(argument) for argument in arguments], environment]) + "\n")
        self._process.stdin.flush()

    def is_alive(self) -> bool:
        """Whether the process hasn't ended."""
        return self._process.poll() is None

    def answer(self) -> Any:
        """What the function returned that was called last. Fails where it raised."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._errors.read_text(encoding="utf-8")[-5000:]
        return json.loads(line)


class EarlierService(AmlstoreService):
    """A service of the version before."""

    def __init__(self, code: Code, folder: Path, *options: str) -> None:
        super().__init__(folder, *options)
        script = (
            f"import sys; sys.path[0] = {str(code.folder)!r}; from mlflow_amlstore import __file__, cli;"
            "assert __file__.startswith(sys.path[0]); cli.main()"
        )
        unset = [word for name in os.environ if name.startswith("COVERAGE_") for word in ("-u", name)]
        self.command = ("env", *unset, sys.executable, "-c", script)
